//! Fuzz targets for RTCP, as far as it is ours: what it asks for, and transport-wide feedback.

use std::time::Duration;

use bytes::Bytes;
use lockgate_tests_fuzz::run;
use rtc::rtcp::{self, transport_feedbacks::transport_layer_cc::TransportLayerCc};
use tokio::sync::mpsc;

use super::history::Departures;
use crate::feedback::{QUEUE_MAX, give};

#[test]
fn rtcp() {
    let mut reports = 0;
    run("rtcp", 4000, |data| {
        let Ok(packets) = rtcp::packet::unmarshal(&mut Bytes::copy_from_slice(data)) else {
            return;
        };
        let (out, mut said) = mpsc::channel(QUEUE_MAX);
        let mut departures = Departures::default();
        for at in 0..200 {
            departures.push(Duration::from_millis(at), 1200);
        }
        let mut arrivals = Vec::new();
        for packet in &packets {
            give(packet.as_ref(), &out);
            if let Some(report) = packet.as_any().downcast_ref::<TransportLayerCc>() {
                departures.report(report, &mut arrivals);
                reports += 1;
            }
        }
        // No more than was sent can have arrived, and nothing is lost twice.
        let arrived = arrivals.iter().filter(|one| one.arrived.is_some()).count();
        assert!(arrived <= 200, "{arrived}");
        assert!(arrivals.len() - arrived <= 200, "{}", arrivals.len());
        while said.try_recv().is_ok() {}
    });
    assert!(reports > 0, "no report was read");
}
