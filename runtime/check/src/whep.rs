//! The rules of WHEP (draft-ietf-wish-whep-03): its own, and those it shares with WHIP.

use hyper::{
    Method, StatusCode, Uri,
    header::{CONTENT_TYPE, LINK, LOCATION, RETRY_AFTER},
};

use crate::{
    Rule,
    http::Answer,
    probe::{Error, Probe},
    rules::Seen,
    whip,
};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "P1",
        clause: "WHEP-03 §4.3",
        says: "POST of an offer: 201 with the answer, or 406 with a counter-offer; both with Location",
        look: |probe| Box::pin(offered(probe)),
    },
    Rule {
        id: "P2",
        clause: "WHEP-03 §4.2",
        says: "HEAD: 200 with Content-Type application/sdp and no body",
        look: |probe| Box::pin(discovered(probe)),
    },
    Rule {
        id: "P3",
        clause: "WHEP-03 §4.3.7",
        says: "where nothing is live: 409 with Retry-After",
        look: |probe| Box::pin(not_live(probe)),
    },
    Rule {
        id: "P5",
        clause: "WHEP extensions, server-sent events",
        says: "an event type that is not supported: 400 and no stream; supported ones: 201 and a stream",
        look: |probe| Box::pin(events(probe)),
    },
    Rule {
        id: "W02",
        clause: "WHEP-03 §4.3.4",
        says: "another media type or malformed SDP: 4xx",
        look: |probe| Box::pin(whip::malformed(probe)),
    },
    Rule {
        id: "W03",
        clause: "WHEP-03 §4.3.5, §4.6.1",
        says: "the answer is bundled, sendonly and rtcp-mux-only, and rejects no section",
        look: |probe| Box::pin(whip::answer(probe)),
    },
    Rule {
        id: "W05",
        clause: "WHEP-03 §4.5.1",
        says: "the 201 has a unique strong entity tag",
        look: |probe| Box::pin(whip::entity_tag(probe)),
    },
    Rule {
        id: "W06",
        clause: "WHEP-03 §4.5.1",
        says: "PATCH without If-Match: 428; with a stale one: 412; of another media type: 4xx",
        look: |probe| Box::pin(whip::preconditions(probe)),
    },
    Rule {
        id: "W07",
        clause: "WHEP-03 §4.5.2",
        says: "PATCH of candidates, unusable ones too: 204 without body and ETag",
        look: |probe| Box::pin(whip::trickle(probe)),
    },
    Rule {
        id: "W08",
        clause: "WHEP-03 §4.5.3",
        says: "ICE restart: 200 with new credentials as sdpfrag and a new ETag; a failed one ends nothing",
        look: |probe| Box::pin(whip::restart(probe)),
    },
    Rule {
        id: "W09",
        clause: "WHEP-03 §4.4, §4.5.1",
        says: "DELETE: 200 whatever If-Match says, and the session is gone",
        look: |probe| Box::pin(whip::delete(probe)),
    },
    Rule {
        id: "W10",
        clause: "WHEP-03 §4.1",
        says: "GET of endpoint and session: 2xx without content",
        look: |probe| Box::pin(whip::get(probe)),
    },
    Rule {
        id: "W11",
        clause: "WHEP-03 §4.4",
        says: "OPTIONS: 200 for CORS with Accept-Post; Location, ETag and Link are exposed",
        look: |probe| Box::pin(whip::options(probe)),
    },
    Rule {
        id: "W12",
        clause: "WHEP-03 §4.7",
        says: "POST is never redirected by 301 or 302",
        look: |probe| Box::pin(whip::redirects(probe)),
    },
    Rule {
        id: "W13",
        clause: "WHEP-03 §4.5.2",
        says: "the answer has the server's candidates",
        look: |probe| Box::pin(whip::candidates(probe)),
    },
    Rule {
        id: "W14",
        clause: "WHEP-03 §4.9.1, RFC 6750 §3",
        says: "without its token: 401 with WWW-Authenticate: Bearer, on POST, PATCH and DELETE",
        look: |probe| Box::pin(whip::bearer(probe)),
    },
    Rule {
        id: "W15",
        clause: "RFC 8842 §5.3",
        says: "setup active and passive are answered with the other role or refused; holdconn is refused",
        look: |probe| Box::pin(whip::setup(probe)),
    },
    Rule {
        id: "W16",
        clause: "WHEP-03 §5",
        says: "session URLs cannot be guessed",
        look: |probe| Box::pin(whip::unguessable(probe)),
    },
];

async fn offered(probe: &Probe) -> Result<Seen, Error> {
    let answer = probe.post("application/sdp", &probe.offer().text()).await?;
    let status = answer.status.as_u16();
    if status == 409 {
        return Ok(Seen::skip("409: nothing is live at this URL"));
    }
    let (media_type, location) = (answer.media_type(), answer.header(LOCATION).to_owned());
    let holds = [201, 406].contains(&status)
        && media_type == "application/sdp"
        && probe.resolve(&location).is_some()
        && answer.body.starts_with("v=0");
    Ok(Seen::of(
        holds,
        format!("{status}, {media_type:?}, Location {location:?}"),
    ))
}

async fn discovered(probe: &Probe) -> Result<Seen, Error> {
    let answer = probe.endpoint(Method::HEAD).await?;
    let (status, media_type) = (answer.status.as_u16(), answer.media_type());
    let holds = status == 200 && media_type == "application/sdp" && answer.body.is_empty();
    Ok(Seen::of(
        holds,
        format!("{status}, Content-Type {media_type:?}"),
    ))
}

async fn not_live(probe: &Probe) -> Result<Seen, Error> {
    let answer = probe.post("application/sdp", &probe.offer().text()).await?;
    if answer.status.is_success() {
        return Ok(Seen::skip(
            "a stream is live at this URL; name one that is not",
        ));
    }
    let (status, after) = (answer.status.as_u16(), answer.header(RETRY_AFTER));
    let holds = status == 409 && !after.is_empty();
    Ok(Seen::of(holds, format!("{status}, Retry-After {after:?}")))
}

/// The URL of an extension that a 201 names.
fn extension(probe: &Probe, answer: &Answer, urn: &str) -> Option<Uri> {
    let links = answer.all(LINK);
    let link = links
        .iter()
        .flat_map(|value| value.split(", <"))
        .find(|link| link.contains(&format!("\"{urn}\"")))?;
    let (url, _) = link.trim_start_matches('<').split_once('>')?;
    probe.resolve(url)
}

async fn events(probe: &Probe) -> Result<Seen, Error> {
    let session = probe.session().await?;
    let Some(url) = extension(probe, &session.answer, SERVER_SENT_EVENTS) else {
        return Ok(Seen::skip("the 201 names no server-sent events"));
    };
    let json = [(CONTENT_TYPE, "application/json")];
    let wrong = r#"["active","no-such-event"]"#;
    let wrong = probe.call(Method::POST, &url, &json, wrong).await?;
    let right = probe.call(Method::POST, &url, &json, "[]").await?;
    let stream = probe.resolve(right.header(LOCATION));
    let mut after = None;
    if let Some(stream) = &stream {
        probe.call(Method::DELETE, stream, &[], "").await?;
        let gone = probe.call(Method::GET, stream, &[], "").await?;
        after = Some(gone.status);
    }
    let holds = wrong.status == StatusCode::BAD_REQUEST
        && wrong.header(LOCATION).is_empty()
        && right.status == StatusCode::CREATED
        && after == Some(StatusCode::NOT_FOUND);
    Ok(Seen::of(
        holds,
        format!(
            "unsupported {}, supported {}, after DELETE of the stream {}",
            wrong.status.as_u16(),
            right.status.as_u16(),
            after.map_or(0, |status| status.as_u16())
        ),
    ))
}

const SERVER_SENT_EVENTS: &str = "urn:ietf:params:whep:ext:core:server-sent-events";
