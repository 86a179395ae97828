//! The rules of WHIP (RFC 9725). Most of them are WHEP's too.

use hyper::{
    Method, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_REQUEST_METHOD,
        AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderName, IF_MATCH, LOCATION, ORIGIN,
        WWW_AUTHENTICATE,
    },
};

use crate::{
    Kind, Rule,
    http::Answer,
    offer::{Offer, credentials},
    probe::{Error, Probe, SDP_FRAGMENT},
    rules::Seen,
    sdp,
};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "W01",
        clause: "RFC 9725 §4.2",
        says: "POST of an offer: 201 with application/sdp, Location and the answer",
        look: |probe| Box::pin(created(probe)),
    },
    Rule {
        id: "W02",
        clause: "RFC 9725 §4.2",
        says: "another media type or malformed SDP: 4xx",
        look: |probe| Box::pin(malformed(probe)),
    },
    Rule {
        id: "W03",
        clause: "RFC 9725 §4.2, §4.4.1",
        says: "the answer is bundled, recvonly and rtcp-mux-only, and rejects no section",
        look: |probe| Box::pin(answer(probe)),
    },
    Rule {
        id: "W04",
        clause: "RFC 9725 §4.4.2",
        says: "more tracks of a kind than are supported: 400 or 422",
        look: |probe| Box::pin(two_videos(probe)),
    },
    Rule {
        id: "W05",
        clause: "RFC 9725 §4.3.1",
        says: "the 201 has a unique strong entity tag",
        look: |probe| Box::pin(entity_tag(probe)),
    },
    Rule {
        id: "W06",
        clause: "RFC 9725 §4.3.1",
        says: "PATCH without If-Match: 428; with a stale one: 412; of another media type: 4xx",
        look: |probe| Box::pin(preconditions(probe)),
    },
    Rule {
        id: "W07",
        clause: "RFC 9725 §4.3.2",
        says: "PATCH of candidates, unusable ones too: 204 without body and ETag",
        look: |probe| Box::pin(trickle(probe)),
    },
    Rule {
        id: "W08",
        clause: "RFC 9725 §4.3.3",
        says: "ICE restart: 200 with new credentials as sdpfrag and a new ETag; a failed one ends nothing",
        look: |probe| Box::pin(restart(probe)),
    },
    Rule {
        id: "W09",
        clause: "RFC 9725 §4.2, §4.3.1",
        says: "DELETE: 200 whatever If-Match says, and the session is gone",
        look: |probe| Box::pin(delete(probe)),
    },
    Rule {
        id: "W10",
        clause: "RFC 9725 §4.1",
        says: "GET of endpoint and session: 2xx without content",
        look: |probe| Box::pin(get(probe)),
    },
    Rule {
        id: "W11",
        clause: "RFC 9725 §4.2",
        says: "OPTIONS: 200 for CORS with Accept-Post; Location, ETag and Link are exposed",
        look: |probe| Box::pin(options(probe)),
    },
    Rule {
        id: "W12",
        clause: "RFC 9725 §4.5",
        says: "POST is never redirected by 301 or 302",
        look: |probe| Box::pin(redirects(probe)),
    },
    Rule {
        id: "W13",
        clause: "RFC 9725 §4.3.2",
        says: "the answer has the server's candidates",
        look: |probe| Box::pin(candidates(probe)),
    },
    Rule {
        id: "W14",
        clause: "RFC 9725 §4.7.1, RFC 6750 §3",
        says: "without its token: 401 with WWW-Authenticate: Bearer, on POST, PATCH and DELETE",
        look: |probe| Box::pin(bearer(probe)),
    },
    Rule {
        id: "W15",
        clause: "RFC 9725 §4.4.4, RFC 8842 §5.3",
        says: "setup active and passive are answered with the other role or refused; holdconn is refused",
        look: |probe| Box::pin(setup(probe)),
    },
    Rule {
        id: "W16",
        clause: "RFC 9725 §5",
        says: "session URLs cannot be guessed",
        look: |probe| Box::pin(unguessable(probe)),
    },
    Rule {
        id: "W17",
        clause: "RFC 9725 §4.8, RFC 8853 §5.3.2",
        says: "a simulcast offer is answered with layers of the offer, received",
        look: |probe| Box::pin(simulcast(probe)),
    },
];

fn number(answer: &Answer) -> u16 {
    answer.status.as_u16()
}

/// Whether this is a refusal of what the client asked.
fn is_refused(answer: &Answer) -> bool {
    answer.status.is_client_error()
}

async fn created(probe: &Probe) -> Result<Seen, Error> {
    let answer = probe.post("application/sdp", &probe.offer().text()).await?;
    let (media_type, location) = (answer.media_type(), answer.header(LOCATION).to_owned());
    let is_sdp = answer.body.starts_with("v=0");
    let holds = answer.status == StatusCode::CREATED
        && media_type == "application/sdp"
        && probe.resolve(&location).is_some()
        && is_sdp;
    let body = if is_sdp { "an answer" } else { "no SDP" };
    let status = number(&answer);
    Ok(Seen::of(
        holds,
        format!("{status}, {media_type:?}, Location {location:?}, {body}"),
    ))
}

pub(crate) async fn malformed(probe: &Probe) -> Result<Seen, Error> {
    let offer = probe.offer().text();
    let untyped = probe.post("text/plain", &offer).await?;
    let empty = probe.post("application/sdp", "").await?;
    let nonsense = probe.post("application/sdp", "this is no offer").await?;
    let cut = offer.split("m=audio").next().unwrap_or_default();
    let cut = probe.post("application/sdp", cut).await?;
    let all = [&untyped, &empty, &nonsense, &cut];
    Ok(Seen::of(
        all.iter().all(|answer| is_refused(answer)),
        format!(
            "text/plain {}, empty {}, no SDP {}, without media {}",
            number(&untyped),
            number(&empty),
            number(&nonsense),
            number(&cut)
        ),
    ))
}

pub(crate) async fn answer(probe: &Probe) -> Result<Seen, Error> {
    let session = probe.session().await?;
    let direction = match probe.kind {
        Kind::Whip => "a=recvonly",
        Kind::Whep => "a=sendonly",
    };
    let lacks = sdp::lacks(&session.answer.body, direction);
    Ok(if lacks.is_empty() {
        Seen::of(true, "all of it")
    } else {
        Seen::of(false, lacks.join("; "))
    })
}

async fn two_videos(probe: &Probe) -> Result<Seen, Error> {
    let mut offer = probe.offer();
    offer.videos = 2;
    let answer = probe.post("application/sdp", &offer.text()).await?;
    if answer.status == StatusCode::CREATED {
        let lacks = sdp::lacks(&answer.body, "a=recvonly");
        let what = format!("201 for two video sections {}", lacks.join("; "));
        return Ok(Seen::of(lacks.is_empty(), what.trim_end()));
    }
    let status = number(&answer);
    Ok(Seen::of(
        [400, 422].contains(&status),
        format!("{status} for two video sections"),
    ))
}

pub(crate) async fn entity_tag(probe: &Probe) -> Result<Seen, Error> {
    let first = probe.session().await?;
    probe.delete(&first.url).await?;
    let second = probe.session().await?;
    let strong = |tag: &str| tag.len() > 2 && tag.starts_with('"') && tag.ends_with('"');
    let holds = strong(&first.etag) && strong(&second.etag) && first.etag != second.etag;
    Ok(Seen::of(
        holds,
        format!("ETag {:?}, then {:?}", first.etag, second.etag),
    ))
}

pub(crate) async fn preconditions(probe: &Probe) -> Result<Seen, Error> {
    let session = probe.session().await?;
    let fragment = Offer::fragment(&session.ufrag, &session.password);
    let missing = probe.patch(&session, "", &fragment).await?;
    let stale = probe.patch(&session, "\"stale\"", &fragment).await?;
    let headers = [(CONTENT_TYPE, "text/plain"), (IF_MATCH, &session.etag)];
    let untyped = probe
        .call(Method::PATCH, &session.url, &headers, &fragment)
        .await?;
    let holds = number(&missing) == 428 && number(&stale) == 412 && is_refused(&untyped);
    Ok(Seen::of(
        holds,
        format!(
            "missing {}, stale {}, text/plain {}",
            number(&missing),
            number(&stale),
            number(&untyped)
        ),
    ))
}

pub(crate) async fn trickle(probe: &Probe) -> Result<Seen, Error> {
    let session = probe.session().await?;
    let fragment = Offer::fragment(&session.ufrag, &session.password);
    let answer = probe.patch(&session, &session.etag, &fragment).await?;
    if number(&answer) == 422 {
        return Ok(Seen::skip("422: no trickle ICE here"));
    }
    let (tag, len) = (answer.header(ETAG), answer.body.len());
    Ok(Seen::of(
        number(&answer) == 204 && tag.is_empty() && len == 0,
        format!("{}, {len} bytes, ETag {tag:?}", number(&answer)),
    ))
}

pub(crate) async fn restart(probe: &Probe) -> Result<Seen, Error> {
    let session = probe.session().await?;
    // Half a restart fails, and ends nothing.
    let half = format!("a=mid:0\r\na=ice-ufrag:{}\r\n", credentials().0);
    let failed = probe.patch(&session, "*", &half).await?;
    if !is_refused(&failed) {
        let what = format!("a restart without a password: {}", number(&failed));
        return Ok(Seen::of(false, what));
    }
    let (ufrag, password) = credentials();
    let answer = probe
        .patch(&session, "*", &Offer::fragment(&ufrag, &password))
        .await?;
    if number(&answer) == 422 {
        return Ok(Seen::skip("422: no ICE restart here"));
    }
    let line = |body, prefix| sdp::value(body, prefix).unwrap_or_default().to_owned();
    let before = &session.answer.body;
    let fresh = |prefix| {
        let now = line(&answer.body, prefix);
        !now.is_empty() && now != line(before, prefix)
    };
    let tag = answer.header(ETAG);
    let holds = number(&answer) == 200
        && answer.media_type() == SDP_FRAGMENT
        && fresh("a=ice-ufrag:")
        && fresh("a=ice-pwd:")
        && tag.starts_with('"')
        && tag != session.etag;
    let credentials = if fresh("a=ice-ufrag:") && fresh("a=ice-pwd:") {
        "new credentials"
    } else {
        "no new credentials"
    };
    let status = number(&answer);
    // The session is still there, under the new tag alone.
    let fragment = Offer::fragment(&ufrag, &password);
    let old = probe.patch(&session, &session.etag, &fragment).await?;
    let new = probe.patch(&session, tag, &fragment).await?;
    Ok(Seen::of(
        holds && number(&old) == 412 && number(&new) == 204,
        format!(
            "{status}, {:?}, {credentials}, ETag {tag:?}; then under the old tag {}, under the new one {}",
            answer.media_type(),
            number(&old),
            number(&new)
        ),
    ))
}

pub(crate) async fn delete(probe: &Probe) -> Result<Seen, Error> {
    let session = probe.session().await?;
    let headers = [(IF_MATCH, "\"stale\"")];
    let first = probe
        .call(Method::DELETE, &session.url, &headers, "")
        .await?;
    let fragment = Offer::fragment(&session.ufrag, &session.password);
    let patch = probe.patch(&session, &session.etag, &fragment).await?;
    let again = probe.session().await.is_ok();
    Ok(Seen::of(
        number(&first) == 200 && is_refused(&patch) && again,
        format!(
            "{}, then PATCH {}, then a new session {}",
            number(&first),
            number(&patch),
            if again { "is made" } else { "is not made" }
        ),
    ))
}

pub(crate) async fn get(probe: &Probe) -> Result<Seen, Error> {
    let session = probe.session().await?;
    let mut all = Vec::new();
    for url in [probe.uri(), &session.url] {
        all.push(probe.call(Method::GET, url, &[], "").await?);
    }
    let holds = all
        .iter()
        .all(|answer| answer.status.is_success() && answer.body.is_empty());
    let seen = |answer: &Answer| format!("{} with {} bytes", number(answer), answer.body.len());
    let seen: Vec<String> = all.iter().map(seen).collect();
    Ok(Seen::of(
        holds,
        format!("endpoint and session: {}", seen.join(", ")),
    ))
}

pub(crate) async fn options(probe: &Probe) -> Result<Seen, Error> {
    // Without the token: a browser's preflight has none.
    let headers = [
        (ORIGIN, "https://example.org"),
        (ACCESS_CONTROL_REQUEST_METHOD, "POST"),
        (AUTHORIZATION, ""),
    ];
    let answer = probe
        .call(Method::OPTIONS, probe.uri(), &headers, "")
        .await?;
    let accept_post = answer.header(HeaderName::from_static("accept-post"));
    let origin = answer.header(ACCESS_CONTROL_ALLOW_ORIGIN);
    let created = probe.session().await?;
    let with_origin = created.answer.header(ACCESS_CONTROL_EXPOSE_HEADERS);
    let exposed = with_origin.to_ascii_lowercase();
    let names: Vec<&str> = exposed.split(',').map(str::trim).collect();
    let all_exposed = exposed == "*"
        || ["location", "etag", "link"]
            .iter()
            .all(|name| names.contains(name));
    Ok(Seen::of(
        number(&answer) == 200
            && accept_post.contains("application/sdp")
            && !origin.is_empty()
            && all_exposed,
        format!(
            "{}, Accept-Post {accept_post:?}, origin {origin:?}, exposed {with_origin:?}",
            number(&answer)
        ),
    ))
}

pub(crate) async fn redirects(probe: &Probe) -> Result<Seen, Error> {
    let good = probe.post("application/sdp", &probe.offer().text()).await?;
    probe.clean_up().await;
    let slash = format!("{}/", probe.uri().to_string().trim_end_matches('/'));
    let mut seen = vec![number(&good)];
    if let Some(url) = probe.resolve(&slash) {
        let headers = [(CONTENT_TYPE, "application/sdp")];
        let answer = probe
            .call(Method::POST, &url, &headers, &probe.offer().text())
            .await?;
        seen.push(number(&answer));
    }
    let holds = !seen.iter().any(|status| [301, 302].contains(status));
    Ok(Seen::of(
        holds,
        format!("the URL and the URL with a slash: {seen:?}"),
    ))
}

pub(crate) async fn candidates(probe: &Probe) -> Result<Seen, Error> {
    let session = probe.session().await?;
    let all: Vec<&str> = session
        .answer
        .body
        .lines()
        .filter_map(|line| line.strip_prefix("a=candidate:"))
        .collect();
    let first = all.first().copied().unwrap_or("none");
    Ok(Seen::of(
        !all.is_empty(),
        format!("{} candidates, first: {first}", all.len()),
    ))
}

pub(crate) async fn bearer(probe: &Probe) -> Result<Seen, Error> {
    if !probe.has_token() {
        return Ok(Seen::skip("no token was given, so none is asked for"));
    }
    let session = probe.session().await?;
    let fragment = Offer::fragment(&session.ufrag, &session.password);
    let offer = probe.offer().text();
    let mut seen = Vec::new();
    let mut holds = true;
    for (method, url, media_type, body) in [
        (Method::POST, probe.uri(), "application/sdp", offer.as_str()),
        (Method::PATCH, &session.url, SDP_FRAGMENT, &fragment),
        (Method::DELETE, &session.url, "", ""),
    ] {
        let headers = [
            (AUTHORIZATION, ""),
            (CONTENT_TYPE, media_type),
            (IF_MATCH, session.etag.as_str()),
        ];
        let answer = probe.call(method.clone(), url, &headers, body).await?;
        if answer.status.is_success() {
            // What anybody may do needs no token: that is the operator's choice.
            return Ok(Seen::skip(format!(
                "{method} needs no token here ({})",
                number(&answer)
            )));
        }
        let challenges = answer.all(WWW_AUTHENTICATE);
        let bearer = challenges
            .iter()
            .any(|one| one.to_ascii_lowercase().starts_with("bearer"));
        holds &= number(&answer) == 401 && bearer;
        seen.push(format!("{method} {} {challenges:?}", number(&answer)));
    }
    Ok(Seen::of(holds, seen.join(", ")))
}

pub(crate) async fn setup(probe: &Probe) -> Result<Seen, Error> {
    let mut seen = Vec::new();
    let mut holds = true;
    for (role, other) in [("active", "passive"), ("passive", "active")] {
        let mut offer = probe.offer();
        offer.setup = role;
        let answer = probe.post("application/sdp", &offer.text()).await?;
        let taken = sdp::value(&answer.body, "a=setup:").unwrap_or("none");
        holds &= if answer.status == StatusCode::CREATED {
            taken == other
        } else {
            [400, 422].contains(&number(&answer))
        };
        seen.push(format!("{role}: {} {taken}", number(&answer)));
        probe.clean_up().await;
    }
    let mut offer = probe.offer();
    offer.setup = "holdconn";
    let answer = probe.post("application/sdp", &offer.text()).await?;
    holds &= is_refused(&answer);
    seen.push(format!("holdconn: {}", number(&answer)));
    Ok(Seen::of(holds, seen.join(", ")))
}

pub(crate) async fn unguessable(probe: &Probe) -> Result<Seen, Error> {
    let mut paths = Vec::new();
    for _ in 0..2 {
        let session = probe.session().await?;
        paths.push(session.url.path().to_owned());
        probe.delete(&session.url).await?;
    }
    let (Some(first), Some(second)) = (paths.first(), paths.get(1)) else {
        return Ok(Seen::skip("there were no two sessions"));
    };
    let alike = first
        .bytes()
        .zip(second.bytes())
        .take_while(|(a, b)| a == b)
        .count();
    // 128 bits are 22 letters of base64; a number that counts up differs in its last places alone.
    let differs = first.len().max(second.len()).saturating_sub(alike);
    Ok(Seen::of(
        differs >= 16,
        format!("two of them differ in {differs} places: {first}, {second}"),
    ))
}

async fn simulcast(probe: &Probe) -> Result<Seen, Error> {
    let mut offer = probe.offer();
    offer.simulcast = true;
    let answer = probe.post("application/sdp", &offer.text()).await?;
    if answer.status != StatusCode::CREATED {
        let status = number(&answer);
        return Ok(Seen::of(
            [400, 422].contains(&status),
            format!("{status} for two layers"),
        ));
    }
    let Some(attribute) = sdp::value(&answer.body, "a=simulcast:") else {
        return Ok(Seen::skip("answered without simulcast: one layer"));
    };
    let layers: Vec<&str> = attribute
        .strip_prefix("recv ")
        .unwrap_or_default()
        .split([';', ','])
        .map(|layer| layer.trim_start_matches('~'))
        .collect();
    let offered = layers.iter().all(|layer| ["h", "l"].contains(layer));
    let described = layers
        .iter()
        .all(|layer| answer.body.contains(&format!("a=rid:{layer} recv")));
    Ok(Seen::of(
        offered && described,
        format!("a=simulcast:{attribute}"),
    ))
}
