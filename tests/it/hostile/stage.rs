//! A server that somebody watches, on which one policy after the other is put in charge.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use hyper::Method;
use lockgate_tests_hostile::Ends;
use lockgate_tests_peer::Viewer;
use serde_json::Value;

use crate::support::{Answer, Playlist, Server, until};

/// What a good policy says of each of its decisions.
pub(super) const GOOD: &str = "return {recommend = function(viewer, ladder)\n\
    \treturn if #ladder == 0 then nil else 1, \"good\"\nend}\n";

/// A policy to be put in charge, and what must become of it.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) body: Vec<u8>,
    pub(super) ends: Ends,
    pub(super) says: String,
}

/// How one is put in charge.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Put,
    /// Saving the file that the configuration names.
    Save,
}

/// The file that the configuration names.
const FILE: &str = "abr.luau";
/// What a viewer may wait for a frame besides: a keyframe of the demo.
const KEYFRAME_EVERY: Duration = Duration::from_secs(2);

/// A server with viewers, and what was seen so far.
pub(super) struct Stage {
    pub(super) server: Server,
    token: String,
    viewer: Viewer,
    /// The longest wait for a frame while a good policy decides.
    pub(super) usual: Duration,
    pub(super) wrong: Vec<String>,
}

impl Stage {
    pub(super) async fn set() -> Self {
        let config = format!("[policies]\nabr = \"{FILE}\"\n");
        let server = Server::start_with(&config, &["--demo"], &[(FILE, GOOD)]).await;
        server.running("demo").await;
        let token = server.mint("admin");
        let mut viewer = Viewer::join(&server, "demo").await.expect("a viewer joins");
        viewer.read().await.expect("media comes");
        Self {
            server,
            token,
            viewer,
            usual: Duration::ZERO,
            wrong: Vec::new(),
        }
    }

    async fn put(&self, body: impl Into<Vec<u8>>) -> Answer {
        self.server
            .send_as(&self.token, Method::PUT, "/api/policies/abr", body.into())
            .await
    }

    async fn roll_back(&self) -> Answer {
        let path = "/api/policies/abr/rollback";
        self.server
            .send_as(&self.token, Method::POST, path, "")
            .await
    }

    /// The logged decisions since a moment on the desk's clock.
    async fn decisions(&self, since_ms: u64) -> Vec<Value> {
        let path = "/api/policies/abr/decisions";
        let log = self
            .server
            .send_as(&self.token, Method::GET, path, "")
            .await;
        let entries = log.text();
        let entries = entries.lines().map(serde_json::from_str::<Value>);
        let entries = entries.map(|entry| entry.expect("the log is JSON lines"));
        entries
            .filter(|entry| {
                entry["mode"] == "active" && entry["tick"]["now_ms"].as_u64() > Some(since_ms)
            })
            .collect()
    }

    async fn now_ms(&self) -> u64 {
        let newest = self.decisions(0).await;
        newest
            .last()
            .and_then(|entry| entry["tick"]["now_ms"].as_u64())
            .unwrap_or(0)
    }

    /// The first logged decision since then that is as wanted.
    async fn decided(&self, since_ms: u64, is_wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        let deadline = Instant::now() + Duration::from_secs(8);
        while Instant::now() < deadline {
            let found = self.decisions(since_ms).await.into_iter().find(&is_wanted);
            if found.is_some() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        None
    }

    /// Waits until the good policy decides, having put it there if nothing is.
    pub(super) async fn good(&mut self) {
        let since_ms = self.now_ms().await;
        let put = self.put(GOOD).await;
        assert_eq!(put.status, 200, "{}", put.text());
        let decided = self
            .decided(since_ms, |entry| entry["reason"] == "good")
            .await;
        assert!(decided.is_some(), "the good policy does not decide");
    }

    /// Puts one in charge that must be refused; the one before goes on.
    pub(super) async fn refused(&mut self, case: &Case) {
        let put = self.put(case.body.clone()).await;
        if put.status != 422 {
            self.wrong
                .push(format!("{}: {} {}", case.name, put.status, put.text()));
            if put.status == 200 {
                self.roll_back().await;
            }
            return;
        }
        let told = put.json()["detail"].as_str().unwrap_or_default().to_owned();
        if !told.contains(&case.says) {
            self.wrong.push(format!(
                "{}: refused without {:?}: {told}",
                case.name, case.says
            ));
        }
    }

    /// Puts one in charge that shows itself only now. `next` is who must decide instead.
    pub(super) async fn admitted(&mut self, case: &Case, by: By, next: &str) {
        if let Err(what) = self.try_admitted(case, by, next).await {
            self.wrong.push(format!("{}: {what}", case.name));
        }
    }

    async fn try_admitted(&self, case: &Case, by: By, next: &str) -> Result<(), String> {
        let since_ms = self.now_ms().await;
        let began = Instant::now();
        let generation = self.put_in_charge(case, by).await?;
        let frames = self.viewer.frames();
        let seen = self
            .decided(since_ms, |entry| match &case.ends {
                Ends::Fault(_) => entry["faults"].is_array() && entry["refused"] == false,
                Ends::Row(_) => entry["refused"] == true,
                // Who does no harm may leave the reason out; such a row is refused.
                _ => {
                    entry["generation"] == generation
                        || entry["faults"][0]["generation"] == generation
                }
            })
            .await;
        let Some(seen) = seen else {
            self.restore(next).await?;
            return Err(format!(
                "no such decision: {:?}",
                self.decisions(since_ms).await
            ));
        };
        let verdict = match self.is_as_it_must(case, &seen, &generation, next) {
            Ok(()) => self.has_counted(&generation, &case.ends).await,
            wrong => wrong,
        };
        until("frames", Duration::from_secs(60), || async {
            (self.viewer.frames() > frames).then_some(())
        })
        .await;
        self.restore(next).await?;
        verdict?;
        let gap = self.longest_gap(began);
        if gap > self.gap_max() && self.has_kept_up() {
            return Err(format!("a wait of {gap:?} for a frame"));
        }
        Ok(())
    }

    /// Puts one in charge, and returns its generation.
    async fn put_in_charge(&self, case: &Case, by: By) -> Result<Value, String> {
        if by == By::Put {
            let put = self.put(case.body.clone()).await;
            return match put.status.as_u16() {
                200 => Ok(put.json()["generation"].clone()),
                status => Err(format!("{status} {}", put.text())),
            };
        }
        let before = self.abr().await["active"]["generation"].clone();
        let text = std::str::from_utf8(&case.body).map_err(|error| error.to_string())?;
        self.server.write(FILE, text);
        let saved = until("the file to be seen", Duration::from_secs(10), || async {
            let generation = self.abr().await["active"]["generation"].clone();
            (generation != before).then_some(generation)
        });
        Ok(saved.await)
    }

    /// Who decided, why, and that what was decided makes sense.
    fn is_as_it_must(
        &self,
        case: &Case,
        seen: &Value,
        generation: &Value,
        next: &str,
    ) -> Result<(), String> {
        let (level, word) = match &case.ends {
            Ends::Fault(word) => (next, word.as_str()),
            Ends::Row(word) => ("builtin", word.as_str()),
            _ => ("", ""),
        };
        if (!level.is_empty() && seen["level"] != level)
            || (level == "last_good" && seen["reason"] != "good")
        {
            return Err(format!(
                "decided by {} for {}",
                seen["level"], seen["reason"]
            ));
        }
        let failures = seen["faults"].as_array().into_iter().flatten();
        let is_told = |failure: &Value| {
            failure["generation"] == *generation
                && failure["fault"] == word
                && failure["what"]
                    .as_str()
                    .is_some_and(|what| what.contains(&case.says))
        };
        if !word.is_empty() && !failures.into_iter().any(is_told) {
            return Err(format!(
                "{} without {word}, {:?}",
                seen["faults"], case.says
            ));
        }
        let rung = &seen["output"]["rung"];
        let rungs = seen["rungs"].as_array().map_or(0, Vec::len);
        match rung.as_f64() {
            Some(rung) if rung.fract() == 0.0 && (0.0..rungs as f64).contains(&rung) => Ok(()),
            // Absent: it has nothing to say. The built-in always has.
            None if rung.is_null() && level != "builtin" => Ok(()),
            _ => Err(format!("decided {} of {rungs} rungs", seen["output"])),
        }
    }

    /// Leaves what must decide while the next one fails: the good policy, or nothing but the built-in.
    pub(super) async fn restore(&self, next: &str) -> Result<(), String> {
        if next == "last_good" {
            let put = self.put(GOOD).await;
            return match put.status.as_u16() {
                200 => Ok(()),
                _ => Err(format!("the good one is not taken back: {}", put.text())),
            };
        }
        while self.roll_back().await.status.is_success() {}
        Ok(())
    }

    /// The fault, or the refusal, was counted by its word for the policy of that generation.
    async fn has_counted(&self, generation: &Value, ends: &Ends) -> Result<(), String> {
        let (counter, word) = match ends {
            Ends::Fault(word) => ("faults", word),
            Ends::Row(word) => ("refusals", word),
            _ => return Ok(()),
        };
        let active = self.abr().await["active"].clone();
        if active["generation"] != *generation {
            return Ok(()); // it failed often enough to be rolled back already
        }
        match active["counters"][counter][word.as_str()].as_u64() {
            Some(1..) => Ok(()),
            _ => Err(format!("{word} is not counted: {active}")),
        }
    }

    /// Lets one decide beside the good one, until it has been asked.
    pub(super) async fn beside(&mut self, case: &Case) {
        let since_ms = self.now_ms().await;
        let path = "/api/policies/abr/shadow";
        let put = self
            .server
            .send_as(&self.token, Method::PUT, path, case.body.clone())
            .await;
        if put.status != 204 {
            self.wrong
                .push(format!("{}: beside: {}", case.name, put.text()));
            return;
        }
        until(
            "the shadow to be asked",
            Duration::from_secs(10),
            || async {
                let counters = self.abr().await["shadow"]["counters"].clone();
                (counters["calls"].as_u64() > Some(0)).then_some(())
            },
        )
        .await;
        let others = self.decisions(since_ms).await;
        let strange = others
            .iter()
            .find(|entry| entry["reason"] != "good" || entry["faults"].is_array());
        if let Some(strange) = strange {
            self.wrong.push(format!("{}: beside: {strange}", case.name));
        }
        self.server
            .send_as(&self.token, Method::DELETE, path, "")
            .await;
    }

    /// What decides `abr`, as the API shows it.
    async fn abr(&self) -> Value {
        slot(&self.server, &self.token, "abr").await
    }

    /// The longest wait for a frame that ended since then.
    pub(super) fn longest_gap(&self, since: Instant) -> Duration {
        let times = self.viewer.times();
        let gaps = times.windows(2).filter(|pair| pair[1] >= since);
        let gaps = gaps.map(|pair| pair[1] - pair[0]);
        gaps.max().unwrap_or(Duration::MAX)
    }

    /// Whether the encoders have dropped nothing: on a busy machine waits and breaks are theirs, and no policy's.
    pub(super) fn has_kept_up(&self) -> bool {
        let log = self.server.log();
        let dropped = log
            .lines()
            .filter_map(|line| line.split_once(" frames dropped")?.0.rsplit(' ').next());
        dropped.into_iter().all(|count| count == "0")
    }

    /// What a viewer may wait for a frame.
    pub(super) fn gap_max(&self) -> Duration {
        2 * self.usual + KEYFRAME_EVERY
    }

    /// The playlist has gone on since, without a break; notes it otherwise.
    pub(super) async fn plays_on(&mut self, before: &Playlist) -> Playlist {
        let now = Playlist::fetch(&self.server, "demo", "360p30").await;
        let end = |playlist: &Playlist| {
            playlist.parsed.media_sequence + playlist.parsed.segments.len() as u64
        };
        let is_broken = now.text.lines().any(|line| line == "#EXT-X-DISCONTINUITY");
        if end(&now) < end(before) || (is_broken && self.has_kept_up()) {
            self.wrong.push(format!("the playlist: {}", now.text));
        }
        now
    }

    /// All that went wrong, in words.
    pub(super) fn verdict(&self) -> String {
        let mut told = String::new();
        for wrong in &self.wrong {
            writeln!(told, "{wrong}").expect("a String takes it");
        }
        told
    }
}

/// What decides a kind, as the API shows it.
pub(super) async fn slot(server: &Server, token: &str, kind: &str) -> Value {
    let answer = server
        .send_as(token, Method::GET, "/api/policies", "")
        .await;
    let slots = answer.json()["policies"].clone();
    let all = slots.as_array().into_iter().flatten();
    all.into_iter()
        .find(|slot| slot["kind"] == kind)
        .cloned()
        .unwrap_or_else(|| panic!("no {kind} in {slots}"))
}
