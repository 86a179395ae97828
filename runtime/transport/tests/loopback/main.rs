//! Publishers and viewers over real UDP on the loopback interface, inside this process.
//!
//! The other end is the `webrtc` crate with sockets, packetisers and depacketisers of its own. Nothing here sleeps to
//! be in step: every wait is for something to happen, with a deadline.

#[cfg(test)]
mod answers;
#[cfg(test)]
mod attendant;
#[cfg(test)]
mod client;
mod converse;
#[cfg(test)]
mod effect;
#[cfg(test)]
mod life;
#[cfg(test)]
mod loss;
#[cfg(test)]
mod network;
#[cfg(test)]
mod places;
#[cfg(test)]
mod player;
#[cfg(test)]
mod publish;
#[cfg(test)]
mod restart;
#[cfg(test)]
mod squeeze;
#[cfg(test)]
mod stun;
#[cfg(test)]
mod talk;
#[cfg(test)]
mod tcp;
#[cfg(test)]
mod units;
#[cfg(test)]
mod view;
#[cfg(test)]
mod viewers;
