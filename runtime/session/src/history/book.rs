//! What is live, and what of it is not on the disk yet. A plain value: whoever holds its lock waits for nothing.

use std::{
    collections::{HashMap, VecDeque},
    sync::Weak,
    time::Duration,
};

use lockgate_media::BroadcastName;
use tokio::time::Instant;

use super::{
    EndReason, Numbers, Opening, RecordState, Role, SessionRecord, SessionStats, SessionView,
    Sitting, record::PARTICIPANTS_MAX,
};
use crate::SessionId;

/// All sessions that are live, and those that are over but not written down as such.
#[derive(Default)]
pub(super) struct Book {
    sheets: HashMap<SessionId, Sheet>,
    /// Who publishes each broadcast.
    hosts: HashMap<BroadcastName, SessionId>,
    /// The rooms, by their names.
    rooms: HashMap<BroadcastName, SessionId>,
    /// Sessions whose beginning or end is to be written, oldest first.
    urgent: VecDeque<SessionId>,
    /// Those that are on their way to the disk.
    in_flight: usize,
    /// Those that are over.
    ended: usize,
    lost: u64,
}

/// One session.
pub(super) struct Sheet {
    record: SessionRecord,
    sitting: Option<Weak<dyn Sitting>>,
    asked_at: Option<Instant>,
    score_sum: f64,
    /// Whether its record is on the disk, and whether as a live one.
    on_disk: Option<RecordState>,
    written_at: Option<Instant>,
    /// It differs from what was written in more than totals.
    changed: bool,
    /// It stands in the queue of what is urgent.
    is_urgent: bool,
}

/// A record to be written.
pub(super) struct Due {
    pub(super) record: SessionRecord,
    /// Whether it is on the disk already, as live.
    pub(super) is_there: bool,
}

impl Sheet {
    /// As it is shown.
    pub(super) fn view(&self, now_ms: u64) -> SessionView {
        let recorded = self.on_disk == Some(self.record.state)
            || (self.record.is_live() && self.on_disk.is_some());
        SessionView::of(self.record.clone(), recorded, now_ms)
    }

    fn is_waiting(&self) -> bool {
        self.on_disk != Some(self.record.state)
    }

    fn score(&mut self, (sum, count): (f64, u64)) {
        self.score_sum += sum;
        self.record.stats.quality_samples += count;
        let samples = self.record.stats.quality_samples;
        if samples > 0 && self.score_sum.is_finite() {
            let average = self.score_sum / samples as f64;
            self.record.stats.average_quality =
                Some((average * 10.0).round().clamp(0.0, 1000.0) / 10.0);
        }
    }

    fn send(&mut self, bytes: u64) {
        let stats = &mut self.record.stats;
        stats.sent_bytes = stats.sent_bytes.saturating_add(bytes);
        stats.data_used_bytes = stats.received_bytes.saturating_add(stats.sent_bytes);
    }

    fn join(&mut self, viewer: SessionId) {
        self.record.stats.total_viewers += 1;
        if self.record.participants.len() < PARTICIPANTS_MAX {
            self.record.participants.push(viewer);
        }
        self.changed = true;
    }
}

impl Book {
    /// Whether there is room for another session.
    pub(super) fn begin(&mut self, opening: Opening<'_>, now_ms: u64) -> bool {
        if self.sheets.len() >= SHEETS_MAX {
            self.lose(opening.id, "too many sessions are open");
            return false;
        }
        let Opening {
            id,
            role,
            protocol,
            stream,
            visitor,
        } = opening;
        let role = role.unwrap_or_else(|| protocol.role());
        let short = |text: String| text.chars().take(CHARS_MAX).collect::<String>();
        let visitor_title = visitor.title.filter(|title| !title.trim().is_empty());
        let host_id = self.host(role, stream);
        let host = host_id.and_then(|id| self.sheets.get(&id));
        let subject = visitor.subject.map(short);
        let address = visitor.address.map(short);
        let (host_name, title) = match (role, host) {
            (Role::Publisher | Role::Room, _) => (
                subject.clone().or_else(|| address.clone()),
                visitor_title.map(short),
            ),
            (Role::Viewer | Role::Participant, host) => (
                host.and_then(|host| host.record.host.clone()),
                host.map(|host| host.record.title.clone()),
            ),
        };
        let mut sheet = Sheet {
            record: SessionRecord {
                id,
                role,
                protocol,
                stream: stream.clone(),
                title: title.unwrap_or_else(|| stream.to_string()),
                host: host_name,
                subject,
                address,
                agent: visitor.agent.filter(|agent| !agent.is_empty()).map(short),
                quality: None,
                state: RecordState::Live,
                started_at_ms: now_ms,
                ended_at_ms: None,
                updated_at_ms: now_ms,
                end_reason: None,
                participants: Vec::new(),
                stats: SessionStats::default(),
            },
            sitting: None,
            asked_at: None,
            score_sum: 0.0,
            on_disk: None,
            written_at: None,
            changed: false,
            is_urgent: true,
        };
        match role {
            Role::Publisher => {
                // Those who stayed while their publisher came back watch this one, too.
                let viewers = self.sheets.values().filter(|sheet| {
                    let record = &sheet.record;
                    record.role == Role::Viewer && record.stream == *stream && record.is_live()
                });
                for viewer in viewers.map(|sheet| sheet.record.id) {
                    sheet.join(viewer);
                }
                self.hosts.insert(stream.clone(), id);
            }
            Role::Room => {
                self.rooms.insert(stream.clone(), id);
            }
            Role::Viewer | Role::Participant => {
                if let Some(host) = host_id.and_then(|id| self.sheets.get_mut(&id)) {
                    host.join(id);
                }
            }
        }
        self.sheets.insert(id, sheet);
        self.urgent.push_back(id);
        true
    }

    /// Whose session counts what one of this role comes to.
    fn host(&self, role: Role, stream: &BroadcastName) -> Option<SessionId> {
        let of_name = match role {
            Role::Viewer => &self.hosts,
            Role::Participant => &self.rooms,
            Role::Publisher | Role::Room => return None,
        };
        of_name.get(stream).copied()
    }

    pub(super) fn watch(&mut self, id: SessionId, sitting: Weak<dyn Sitting>) {
        if let Some(sheet) = self.sheets.get_mut(&id) {
            sheet.sitting = Some(sitting);
        }
    }

    /// Takes a session's numbers; what a viewer was sent counts for its publisher, too.
    pub(super) fn apply(&mut self, id: SessionId, numbers: Numbers, now_ms: u64) {
        let Some(sheet) = self.sheets.get_mut(&id) else {
            return;
        };
        if !sheet.record.is_live() {
            return;
        }
        let record = &mut sheet.record;
        let role = record.role;
        record.updated_at_ms = numbers
            .seen_at_ms
            .unwrap_or(now_ms)
            .max(record.started_at_ms);
        let received = (numbers.received_bytes).saturating_sub(record.stats.received_bytes);
        record.stats.received_bytes += received;
        if numbers.quality.is_some() && record.quality != numbers.quality {
            record.quality = numbers.quality;
            sheet.changed = true;
        }
        if matches!(role, Role::Publisher | Role::Room) {
            sheet.send(0);
            return;
        }
        let stats = &sheet.record.stats;
        let sent = numbers.sent_bytes.saturating_sub(stats.sent_bytes);
        let (sum, count) = numbers.scores;
        let scores = (
            sum - sheet.score_sum,
            count.saturating_sub(stats.quality_samples),
        );
        sheet.send(sent);
        sheet.score(scores);
        let stream = sheet.record.stream.clone();
        let host = self.host(role, &stream);
        if let Some(host) = host.and_then(|id| self.sheets.get_mut(&id)) {
            if role == Role::Participant {
                host.record.stats.received_bytes += received;
            }
            host.send(sent);
            host.score(scores);
        }
    }

    /// Ends a session; whether that was news.
    pub(super) fn end(
        &mut self,
        id: SessionId,
        reason: EndReason,
        numbers: Option<Numbers>,
        now_ms: u64,
    ) -> bool {
        let seen_at_ms = numbers.as_ref().and_then(|numbers| numbers.seen_at_ms);
        if let Some(numbers) = numbers {
            self.apply(id, numbers, now_ms);
        }
        let Some(sheet) = self.sheets.get_mut(&id) else {
            return false;
        };
        if !sheet.record.is_live() {
            return false;
        }
        sheet.record.end(seen_at_ms.unwrap_or(now_ms), reason);
        sheet.sitting = None;
        let stream = sheet.record.stream.clone();
        if !sheet.is_urgent {
            sheet.is_urgent = true;
            self.urgent.push_back(id);
        }
        self.ended += 1;
        for of_name in [&mut self.hosts, &mut self.rooms] {
            if of_name.get(&stream) == Some(&id) {
                of_name.remove(&stream);
            }
        }
        if self.ended > ENDED_MAX {
            // What the disk has of it stays live until the history is settled again.
            self.sheets.remove(&id);
            self.ended -= 1;
            self.lose(id, "too many ends wait for the disk");
        }
        true
    }

    fn lose(&mut self, id: SessionId, why: &str) {
        if self.lost.is_power_of_two() || self.lost == 0 {
            tracing::error!(session = %id, lost = self.lost + 1, "a session is not recorded: {why}");
        }
        self.lost += 1;
    }

    pub(super) fn get(&self, id: SessionId) -> Option<&Sheet> {
        self.sheets.get(&id)
    }

    pub(super) fn has(&self, id: SessionId) -> bool {
        self.sheets.contains_key(&id)
    }

    /// Sessions whose beginning or end is not on the disk, and those that were lost.
    pub(super) fn counts(&self) -> (u64, u64) {
        ((self.urgent.len() + self.in_flight) as u64, self.lost)
    }

    pub(super) fn open_ids(&self) -> Vec<SessionId> {
        let live = self.sheets.values().filter(|sheet| sheet.record.is_live());
        live.map(|sheet| sheet.record.id).collect()
    }

    /// All as they are shown.
    pub(super) fn views(&self, now_ms: u64) -> Vec<SessionView> {
        self.sheets
            .values()
            .map(|sheet| sheet.view(now_ms))
            .collect()
    }

    /// Whom to ask for numbers: one, or all that have not been asked for so long.
    pub(super) fn whom_to_ask(
        &mut self,
        id: Option<SessionId>,
        since: Duration,
    ) -> Vec<(SessionId, Weak<dyn Sitting>)> {
        let now = Instant::now();
        let ask = |(id, sheet): (&SessionId, &mut Sheet)| {
            let is_fresh = sheet.asked_at.is_some_and(|at| now - at < since);
            let sitting = sheet.sitting.clone()?;
            if is_fresh {
                return None;
            }
            sheet.asked_at = Some(now);
            Some((*id, sitting))
        };
        match id {
            Some(id) => {
                let sheet = self.sheets.get_mut(&id);
                sheet
                    .and_then(|sheet| ask((&id, sheet)))
                    .into_iter()
                    .collect()
            }
            None => self.sheets.iter_mut().filter_map(ask).collect(),
        }
    }

    /// What is to be written now, at most `max` of them: first what began or ended, then, where `look`, what changed a
    /// while ago.
    pub(super) fn due(&mut self, max: usize, look: bool) -> Vec<Due> {
        let mut ids: Vec<SessionId> = Vec::new();
        while ids.len() < max {
            let Some(id) = self.urgent.pop_front() else {
                break;
            };
            if let Some(sheet) = self.sheets.get_mut(&id) {
                sheet.is_urgent = false;
                ids.push(id);
            }
        }
        if look {
            let now = Instant::now();
            let is_old = |sheet: &Sheet| {
                let age = sheet.written_at.map(|at| now - at);
                age.is_some_and(|age| age >= TOTALS_EVERY || (sheet.changed && age >= CHANGE_EVERY))
            };
            let old = self
                .sheets
                .values()
                .filter(|sheet| !sheet.is_urgent && sheet.record.is_live() && is_old(sheet));
            let room = max - ids.len();
            ids.extend(
                old.take(room)
                    .map(|sheet| sheet.record.id)
                    .collect::<Vec<_>>(),
            );
        }
        let due = |id: &SessionId| {
            let sheet = self.sheets.get_mut(id)?;
            sheet.changed = false;
            Some(Due {
                record: sheet.record.clone(),
                is_there: sheet.on_disk.is_some(),
            })
        };
        let due: Vec<Due> = ids.iter().filter_map(due).collect();
        self.in_flight = due.len();
        due
    }

    /// These are on the disk. Returns how many of them were not there before.
    pub(super) fn written(&mut self, due: &[Due]) -> u64 {
        let now = Instant::now();
        self.in_flight = 0;
        let mut new = 0;
        for Due { record, .. } in due {
            let Some(sheet) = self.sheets.get_mut(&record.id) else {
                continue;
            };
            new += u64::from(sheet.on_disk.is_none());
            sheet.on_disk = Some(record.state);
            sheet.written_at = Some(now);
            if record.state == RecordState::Ended {
                self.sheets.remove(&record.id);
                self.ended = self.ended.saturating_sub(1);
            }
        }
        new
    }

    /// These are not on the disk after all: they come first the next time.
    pub(super) fn put_back(&mut self, due: &[Due]) {
        self.in_flight = 0;
        for Due { record, .. } in due.iter().rev() {
            if let Some(sheet) = self.sheets.get_mut(&record.id) {
                sheet.changed = true;
                if sheet.is_waiting() && !sheet.is_urgent {
                    sheet.is_urgent = true;
                    self.urgent.push_front(record.id);
                }
            }
        }
    }
}

/// Most sessions at a time: at some 1 KB each, 200 MB. Beyond them sessions are not recorded, and counted.
const SHEETS_MAX: usize = 200_000;
/// Most sessions that are over and wait for the disk; beyond them ends are lost, and counted.
const ENDED_MAX: usize = 20_000;
/// A change is written so long after what was written before at the earliest.
const CHANGE_EVERY: Duration = Duration::from_secs(10);
/// Totals are written so often: what a crash costs of them at most.
const TOTALS_EVERY: Duration = Duration::from_secs(60);
/// Characters of each text that are kept.
const CHARS_MAX: usize = 200;
