//! What is asked of the history: filters, order, pages.

use std::{cmp::Ordering, collections::BinaryHeap, fmt, str::FromStr};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    EndReason, History, HistoryError, RecordState, Role, SessionView, Via, keys, now_ms, rows::Rows,
};
use crate::SessionId;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    stream: Option<String>,
    role: Option<Role>,
    protocol: Option<Via>,
    state: Option<RecordState>,
    host: Option<String>,
    subject: Option<String>,
    reason: Option<EndReason>,
    started_after_ms: Option<u64>,
    started_before_ms: Option<u64>,
    sort: Sort,
    descending: bool,
    limit: usize,
    cursor: Option<Cursor>,
}

/// By what sessions are sorted; those that are alike, by their ids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sort {
    /// When they began.
    #[default]
    StartedAt,
    /// When they ended; what is live comes last.
    EndedAt,
    /// How long they lasted.
    Duration,
    /// What they received and sent.
    DataUsed,
}

/// A place in a sorted list: after this session. It stays where it is whatever comes and goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    sort: Sort,
    descending: bool,
    place: (u64, SessionId),
}

/// A page of what was found.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Found {
    /// The sessions.
    pub sessions: Vec<SessionView>,
    /// `cursor` of the next page; absent on the last one.
    #[schema(value_type = Option<String>)]
    pub next: Option<Cursor>,
}

impl Default for Query {
    /// The newest sessions.
    fn default() -> Self {
        Self {
            stream: None,
            role: None,
            protocol: None,
            state: None,
            host: None,
            subject: None,
            reason: None,
            started_after_ms: None,
            started_before_ms: None,
            sort: Sort::StartedAt,
            descending: true,
            limit: LIMIT,
            cursor: None,
        }
    }
}

impl Query {
    /// Reads a query of names and values. The error says which of them is wrong and what it may be.
    pub fn of<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        let mut query = Self::default();
        for (name, value) in pairs {
            query.take(name, value)?;
        }
        if let Some(cursor) = query.cursor
            && (cursor.sort, cursor.descending) != (query.sort, query.descending)
        {
            return Err("cursor is of a list in another order; begin again without it".to_owned());
        }
        Ok(query)
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), String> {
        let text = || {
            if value.is_empty() || value.len() > WORD_MAX {
                Err(format!(
                    "{name} has {} bytes; it has 1 to {WORD_MAX}",
                    value.len()
                ))
            } else {
                Ok(Some(value.to_owned()))
            }
        };
        let time = || {
            let time = value.parse::<u64>();
            time.map(Some).map_err(|_| {
                format!("{name} is {value:?}; it is a time in ms since 1970-01-01 UTC")
            })
        };
        match name {
            "stream" => self.stream = text()?,
            "host" => self.host = text()?,
            "subject" => self.subject = text()?,
            "role" => self.role = Some(word(name, value)?),
            "protocol" => self.protocol = Some(word(name, value)?),
            "state" => self.state = Some(word(name, value)?),
            "reason" => {
                let reason = EndReason::ALL
                    .into_iter()
                    .find(|one| serde_json::to_value(one).is_ok_and(|written| written == value));
                self.reason = Some(reason.ok_or_else(|| {
                    let known =
                        EndReason::ALL.map(|one| serde_json::to_value(one).unwrap_or_default());
                    let known = known.map(|one| one.as_str().unwrap_or_default().to_owned());
                    format!("reason is {value:?}; it is one of {}", known.join(", "))
                })?);
            }
            "started_after_ms" => self.started_after_ms = time()?,
            "started_before_ms" => self.started_before_ms = time()?,
            "sort" => {
                let (descending, name) = match value.strip_prefix('-') {
                    Some(name) => (true, name),
                    None => (false, value),
                };
                self.descending = descending;
                self.sort = name.parse()?;
            }
            "limit" => {
                let limit = value
                    .parse()
                    .ok()
                    .filter(|limit| (1..=LIMIT_MAX).contains(limit));
                self.limit =
                    limit.ok_or_else(|| format!("limit is {value:?}; it is 1 to {LIMIT_MAX}"))?;
            }
            "cursor" => {
                let bad = |()| format!("cursor is {value:?}; it is \"next\" of the page before");
                self.cursor = Some(value.parse().map_err(bad)?);
            }
            "token" => {}
            _ => {
                return Err(format!(
                    "there is no {name:?}; there are stream, host, subject, role, protocol, state, reason, \
                     started_after_ms, started_before_ms, sort, limit and cursor"
                ));
            }
        }
        Ok(())
    }

    /// The same for all that match, oldest first, in pages of so many.
    #[must_use]
    pub fn oldest_first(mut self, limit: usize) -> Self {
        self.sort = Sort::StartedAt;
        self.descending = false;
        self.limit = limit.max(1);
        self.cursor = None;
        self
    }

    /// The same for the page after this place.
    #[must_use]
    pub fn after(mut self, cursor: Cursor) -> Self {
        self.cursor = Some(cursor);
        self
    }

    /// Whether only what is live is asked for: then nothing need be read.
    fn is_of_live_ones(&self) -> bool {
        self.state == Some(RecordState::Live)
    }

    fn takes(&self, view: &SessionView) -> bool {
        let record = &view.record;
        let is = |wanted: &Option<String>, is: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| is == Some(wanted))
        };
        is(&self.stream, Some(record.stream.as_str()))
            && is(&self.host, record.host.as_deref())
            && is(&self.subject, record.subject.as_deref())
            && self.role.is_none_or(|role| role == record.role)
            && self
                .protocol
                .is_none_or(|protocol| protocol == record.protocol)
            && self.state.is_none_or(|state| state == record.state)
            && self
                .reason
                .is_none_or(|reason| record.end_reason == Some(reason))
            && self
                .started_after_ms
                .is_none_or(|after| record.started_at_ms >= after)
            && self
                .started_before_ms
                .is_none_or(|before| record.started_at_ms < before)
    }

    fn place(&self, view: &SessionView, now_ms: u64) -> (u64, SessionId) {
        let record = &view.record;
        let value = match self.sort {
            Sort::StartedAt => record.started_at_ms,
            Sort::EndedAt => record.ended_at_ms.unwrap_or(u64::MAX),
            Sort::Duration => record.duration_ms(now_ms),
            Sort::DataUsed => record.stats.data_used_bytes,
        };
        (value, record.id)
    }

    fn order(&self, one: &(u64, SessionId), other: &(u64, SessionId)) -> Ordering {
        let order = one.cmp(other);
        if self.descending {
            order.reverse()
        } else {
            order
        }
    }

    /// Whether a place is on this page or a later one.
    fn is_ahead(&self, place: &(u64, SessionId)) -> bool {
        self.cursor
            .is_none_or(|cursor| self.order(place, &cursor.place) == Ordering::Greater)
    }

    fn page(&self, mut views: Vec<SessionView>, now_ms: u64) -> Found {
        let is_more = views.len() > self.limit;
        views.truncate(self.limit);
        let last = views.last().filter(|_| is_more);
        Found {
            next: last.map(|last| Cursor {
                sort: self.sort,
                descending: self.descending,
                place: self.place(last, now_ms),
            }),
            sessions: views,
        }
    }
}

/// A page of what matches. Memory is bounded by the page, time by what is kept.
pub(super) fn find(history: &History, query: &Query) -> Result<Found, HistoryError> {
    let now_ms = now_ms();
    if query.is_of_live_ones() {
        let views = history.book().views(now_ms);
        let mut best = Best::new(query, now_ms);
        views.into_iter().for_each(|view| best.take(view));
        return Ok(query.page(best.sorted(), now_ms));
    }
    if query.sort == Sort::StartedAt {
        return by_start(history, query, now_ms);
    }
    let mut best = Best::new(query, now_ms);
    let mut rows = Rows::new(history, None, false);
    while let Some(view) = rows.next()? {
        best.take(view);
    }
    Ok(query.page(best.sorted(), now_ms))
}

/// In the order in which they lie: no more is read than is wanted.
fn by_start(history: &History, query: &Query, now_ms: u64) -> Result<Found, HistoryError> {
    let reverse = query.descending;
    let cursor = query
        .cursor
        .map(|cursor| keys::of(cursor.place.0, cursor.place.1));
    let bound = if reverse {
        query.started_before_ms.map(keys::at)
    } else {
        query.started_after_ms.map(keys::at)
    };
    let beyond = match (cursor, bound) {
        (Some(cursor), Some(bound)) if reverse => Some(cursor.min(bound)),
        (Some(cursor), Some(bound)) => Some(cursor.max(bound)),
        (cursor, bound) => cursor.or(bound),
    };
    let mut rows = Rows::new(history, beyond, reverse);
    let mut views = Vec::new();
    while let Some(view) = rows.next()? {
        let started = view.record.started_at_ms;
        let is_past = if reverse {
            query.started_after_ms.is_some_and(|after| started < after)
        } else {
            query
                .started_before_ms
                .is_some_and(|before| started >= before)
        };
        if is_past || views.len() > query.limit {
            break;
        }
        if query.takes(&view) {
            views.push(view);
        }
    }
    Ok(query.page(views, now_ms))
}

/// The first of what it is given, as many as a page has and one more.
struct Best<'a> {
    query: &'a Query,
    now_ms: u64,
    heap: BinaryHeap<Placed>,
}

/// Ordered by where it stands in the list.
struct Placed {
    place: (u64, SessionId),
    descending: bool,
    view: SessionView,
}

impl<'a> Best<'a> {
    fn new(query: &'a Query, now_ms: u64) -> Self {
        Self {
            query,
            now_ms,
            heap: BinaryHeap::new(),
        }
    }

    fn take(&mut self, view: SessionView) {
        let place = self.query.place(&view, self.now_ms);
        if !self.query.takes(&view) || !self.query.is_ahead(&place) {
            return;
        }
        self.heap.push(Placed {
            place,
            descending: self.query.descending,
            view,
        });
        if self.heap.len() > self.query.limit + 1 {
            self.heap.pop();
        }
    }

    fn sorted(self) -> Vec<SessionView> {
        let sorted = self.heap.into_sorted_vec();
        sorted.into_iter().map(|placed| placed.view).collect()
    }
}

impl Ord for Placed {
    fn cmp(&self, other: &Self) -> Ordering {
        let order = self.place.cmp(&other.place);
        if self.descending {
            order.reverse()
        } else {
            order
        }
    }
}

impl PartialOrd for Placed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Placed {
    fn eq(&self, other: &Self) -> bool {
        self.place == other.place
    }
}

impl Eq for Placed {}

fn word<T: DeserializeOwned>(name: &str, value: &str) -> Result<T, String> {
    serde_json::from_value(value.into()).map_err(|error| format!("{name}: {error}"))
}

impl Sort {
    const ALL: [Self; 4] = [
        Self::StartedAt,
        Self::EndedAt,
        Self::Duration,
        Self::DataUsed,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::StartedAt => "started_at",
            Self::EndedAt => "ended_at",
            Self::Duration => "duration",
            Self::DataUsed => "data_used",
        }
    }
}

impl FromStr for Sort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|sort| sort.name() == text);
        found.ok_or_else(|| {
            format!(
                "sort is {text:?}; it is {}, with - in front for the greatest first",
                Self::ALL.map(Self::name).join(", ")
            )
        })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.descending { "-" } else { "" };
        let (value, id) = self.place;
        write!(f, "{sign}{}.{value}.{id}", self.sort.name())
    }
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (descending, text) = match text.strip_prefix('-') {
            Some(text) => (true, text),
            None => (false, text),
        };
        let mut parts = text.split('.');
        let (Some(sort), Some(value), Some(id), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(());
        };
        Ok(Self {
            sort: sort.parse().map_err(|_| ())?,
            descending,
            place: (value.parse().map_err(|_| ())?, id.parse()?),
        })
    }
}

impl Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Sessions on a page where no limit is given.
const LIMIT: usize = 50;
/// Most sessions on a page.
const LIMIT_MAX: usize = 1000;
/// Names of broadcasts and subjects are shorter.
const WORD_MAX: usize = 1024;
