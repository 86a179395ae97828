//! How many connections there are from each address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use crate::limits::Key;

/// Counts connections.
pub(crate) struct Tally {
    most: usize,
    open: Open,
}

/// A connection that is counted as long as this lives.
pub(crate) struct Counted(Option<(Open, Key)>);

type Open = Arc<Mutex<HashMap<Key, usize>>>;

impl Tally {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            open: Arc::default(),
        }
    }

    /// Counts one more; `None` if there are as many as there may be. The map is no larger than there are connections.
    pub(crate) fn enter(&self, address: IpAddr) -> Option<Counted> {
        if self.most == 0 {
            return Some(Counted(None));
        }
        let key = Key::address(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(key).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Counted(Some((Arc::clone(&self.open), key))))
    }
}

impl Counted {
    /// One that is not counted.
    pub(crate) fn freely() -> Self {
        Self(None)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Some((open, key)) = &self.0 else { return };
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                open.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_connections_and_then_no_more() {
        let tally = Tally::new(2);
        let address = "192.0.2.1".parse().unwrap();
        let first = tally.enter(address).unwrap();
        let _second = tally.enter(address).unwrap();
        assert!(tally.enter(address).is_none());
        assert!(tally.enter("192.0.2.2".parse().unwrap()).is_some());
        drop(first);
        let _third = tally.enter(address).unwrap();
        assert!(tally.enter(address).is_none());
        assert_eq!(tally.open.lock().unwrap().len(), 1);
    }
}
