//! Who may be in a room, and as what.

use lockgate_media::BroadcastName;
use lockgate_session::rooms::Role;

use crate::scope::Action;

use super::{Door, Entered, Refusal, known::Known};

/// As what somebody may be in a room.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    /// What was decided.
    pub(crate) entered: Entered,
    /// They may be host.
    pub(crate) may_host: bool,
    /// What they are otherwise.
    pub(crate) role: Role,
    /// It is known who they are: nobody else is taken for them.
    pub(crate) is_known: bool,
}

impl Door {
    /// Decides about somebody who wants to join a room. What the service or the policy says they are there counts, then what
    /// the token says; where neither does, the scopes do: whoever may publish under the room's name may be host, whoever may
    /// join speaks, and whoever may only play listens.
    pub(crate) async fn enter_room(
        &self,
        known: &Known,
        name: &BroadcastName,
    ) -> Result<Standing, Refusal> {
        let enter = async |action| self.enter_known(&known.caller, &known.who, action).await;
        let is_known = known.who.subject().is_some();
        let joined = enter(Action::Join(name)).await;
        let claimed = known
            .who
            .claims
            .as_ref()
            .and_then(|claims| claims.all.get("role")?.as_str());
        if let Ok(entered) = &joined {
            let said = entered
                .grant
                .role
                .as_deref()
                .or(claimed)
                .and_then(Role::named);
            if let Some(role) = said {
                return Ok(Standing {
                    entered: entered.clone(),
                    may_host: role == Role::Host,
                    role: if role == Role::Host {
                        Role::Speaker
                    } else {
                        role
                    },
                    is_known,
                });
            }
        }
        let refusal = match joined {
            Err(
                refusal @ (Refusal::BadCredentials
                | Refusal::TooMany(_)
                | Refusal::Kicked
                | Refusal::Silent),
            ) => {
                return Err(refusal);
            }
            joined => match (joined, enter(Action::Publish(name)).await) {
                (Ok(entered), published) => {
                    return Ok(Standing {
                        entered,
                        may_host: published.is_ok(),
                        role: Role::Speaker,
                        is_known,
                    });
                }
                (Err(_), Ok(entered)) => {
                    return Ok(Standing {
                        entered,
                        may_host: true,
                        role: Role::Speaker,
                        is_known,
                    });
                }
                (Err(refusal), Err(_)) => refusal,
            },
        };
        let listens = enter(Action::Play(name)).await;
        listens.map_err(|_| refusal).map(|entered| Standing {
            entered,
            may_host: false,
            role: Role::Listener,
            is_known,
        })
    }
}
