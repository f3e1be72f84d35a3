//! Every active link in memory, found by what it names and by the account it belongs to.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use schemas::{
    Delivery, Level,
    event_type::TypeKey,
    filter,
    provider::Provider,
    route::{Route, target_key},
    token::key_segment,
};

/// One active link.
#[derive(Debug, PartialEq, Eq)]
pub struct Link {
    /// The link.
    pub id: Box<str>,
    /// The organisation that made it.
    pub org: Arc<str>,
    /// The connection it belongs to.
    pub connection: Arc<str>,
    /// The workspace it was made for.
    pub workspace: Option<Arc<str>>,
    account: Arc<str>,
    events: Option<Arc<[Box<str>]>>,
}

impl Link {
    /// Whether the link's filter wants an event.
    #[must_use]
    pub fn admits(&self, provider: &Provider, event: &str, key: &TypeKey) -> bool {
        filter::admits(self.events.as_deref(), provider, event, key)
    }
}

/// Nearly every resource has one link.
#[derive(Debug)]
enum Links {
    One(Arc<Link>),
    Several(Vec<Arc<Link>>),
}

/// All active links.
#[derive(Debug, Default)]
pub struct Table {
    targets: HashMap<Box<str>, Links>,
    accounts: HashMap<Box<str>, Vec<Arc<Link>>>,
    names: HashSet<Arc<str>>,
    filters: HashSet<Arc<[Box<str>]>>,
    count: usize,
}

impl Table {
    /// How many links there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes a route in the place of what was known of the link. Tells whether the link is active.
    pub fn put(&mut self, route: &Route) -> bool {
        let Some(level) = Level::parse(&route.level) else { return false };
        let target = target_key(&route.provider, level, &route.target);
        self.take(&target, &route.link_id);
        if !route.active {
            return false;
        }
        let account = self.name(&format!("{}.{}", key_segment(&route.provider), key_segment(&route.account)));
        let link = Arc::new(Link {
            id: route.link_id.as_str().into(),
            org: self.name(&route.org_id),
            connection: self.name(&route.connection_id),
            workspace: route.workspace_id.as_deref().map(|workspace| self.name(workspace)),
            account: account.clone(),
            events: route.events.as_deref().map(|events| self.filter(events)),
        });
        match self.accounts.get_mut(account.as_ref()) {
            Some(links) => links.push(link.clone()),
            None => drop(self.accounts.insert(account.as_ref().into(), vec![link.clone()])),
        }
        match self.targets.get_mut(target.as_str()) {
            Some(links) => links.push(link),
            None => drop(self.targets.insert(target.into(), Links::One(link))),
        }
        self.count += 1;
        true
    }

    /// Forgets the link of a key of the bucket, `<provider>.<level>.<id>.<link>`.
    pub fn remove(&mut self, key: &str) {
        if let Some((target, link)) = key.rsplit_once('.') {
            self.take(target, link);
        }
    }

    /// The links that claim a delivery, each once. A delivery bound to a connection is claimed by links of that
    /// connection's organisation only.
    #[must_use]
    pub fn claims(&self, delivery: &Delivery) -> Vec<Arc<Link>> {
        let mut links: Vec<Arc<Link>> = Vec::new();
        let mut add = |link: &Arc<Link>| {
            let own = delivery.bound.as_ref().is_none_or(|bound| bound.org == *link.org);
            if own && !links.iter().any(|known| Arc::ptr_eq(known, link)) {
                links.push(link.clone());
            }
        };
        let provider = delivery.provider.as_str();
        for resource in &delivery.resources {
            self.at(&target_key(provider, Level::Resource, resource)).iter().for_each(&mut add);
        }
        if let Some(account) = &delivery.account {
            self.at(&target_key(provider, Level::Account, account)).iter().for_each(&mut add);
            if delivery.resources.is_empty() {
                let account = format!("{}.{}", key_segment(provider), key_segment(account));
                self.accounts.get(account.as_str()).into_iter().flatten().for_each(&mut add);
            }
        }
        links
    }

    fn at(&self, target: &str) -> &[Arc<Link>] {
        match self.targets.get(target) {
            None => &[],
            Some(Links::One(link)) => std::slice::from_ref(link),
            Some(Links::Several(links)) => links,
        }
    }

    fn take(&mut self, target: &str, link: &str) {
        let Some(links) = self.targets.get_mut(target) else { return };
        let Some(found) = links.take(link) else { return };
        if links.is_empty() {
            self.targets.remove(target);
        }
        if let Some(links) = self.accounts.get_mut(found.account.as_ref()) {
            links.retain(|link| !Arc::ptr_eq(link, &found));
            if links.is_empty() {
                self.accounts.remove(found.account.as_ref());
            }
        }
        self.count -= 1;
    }

    /// Names repeat a lot: each is kept once.
    fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        let name: Arc<str> = name.into();
        self.names.insert(name.clone());
        name
    }

    fn filter(&mut self, events: &[Box<str>]) -> Arc<[Box<str>]> {
        if let Some(known) = self.filters.get(events) {
            return known.clone();
        }
        let events: Arc<[Box<str>]> = events.into();
        self.filters.insert(events.clone());
        events
    }
}

impl Links {
    fn push(&mut self, link: Arc<Link>) {
        match self {
            Self::One(first) => *self = Self::Several(vec![first.clone(), link]),
            Self::Several(links) => links.push(link),
        }
    }

    fn take(&mut self, id: &str) -> Option<Arc<Link>> {
        match self {
            Self::One(link) => {
                let found = (*link.id == *id).then(|| link.clone());
                if found.is_some() {
                    *self = Self::Several(Vec::new());
                }
                found
            }
            Self::Several(links) => links.iter().position(|link| *link.id == *id).map(|at| links.swap_remove(at)),
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Several(links) if links.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use schemas::{Bound, Origin};

    use super::*;

    fn route(link: &str, org: &str, level: &str, target: &str) -> Route {
        Route {
            version: 1,
            active: true,
            link_id: link.into(),
            org_id: org.into(),
            connection_id: format!("con_{org}"),
            generation: 1,
            provider: "github".into(),
            account: "acc".into(),
            level: level.into(),
            target: target.into(),
            workspace_id: None,
            events: None,
        }
    }

    fn delivery(account: Option<&str>, resources: &[&str], bound: Option<&str>) -> Delivery {
        Delivery {
            provider: "github".into(),
            event: Some("push".into()),
            id: "d".into(),
            account: account.map(str::to_owned),
            resources: resources.iter().map(|&id| id.to_owned()).collect(),
            received_at: 0,
            origin: Origin::Live,
            bound: bound.map(|org| Bound { connection: format!("con_{org}"), org: org.into() }),
            correlation: None,
            signature_key: None,
            body_sha256: String::new(),
            payload_ref: None,
            kept: Vec::new(),
        }
    }

    #[track_caller]
    fn check(table: &Table, delivery: &Delivery, expected: &[&str]) {
        let mut ids: Vec<String> = table.claims(delivery).iter().map(|link| link.id.to_string()).collect();
        ids.sort();
        assert_eq!(ids, expected);
    }

    fn table() -> Table {
        let mut table = Table::default();
        for route in [
            route("a", "one", "resource", "42"),
            route("b", "two", "resource", "42"),
            route("c", "three", "account", "acc"),
            route("d", "one", "resource", "43"),
        ] {
            assert!(table.put(&route));
        }
        table
    }

    #[test]
    fn a_delivery_is_claimed_by_its_resources_and_its_account() {
        let table = table();
        check(&table, &delivery(Some("acc"), &["42"], None), &["a", "b", "c"]);
        check(&table, &delivery(None, &["42", "43"], None), &["a", "b", "d"]);
        check(&table, &delivery(None, &["44"], None), &[]);
    }

    #[test]
    fn account_and_resource_ids_never_meet() {
        let mut table = Table::default();
        table.put(&route("r", "one", "resource", "7"));
        check(&table, &delivery(Some("7"), &["8"], None), &[]);
        let mut table = Table::default();
        table.put(&Route { account: "7".into(), ..route("a", "one", "account", "7") });
        check(&table, &delivery(None, &["7"], None), &[]);
    }

    #[test]
    fn a_delivery_without_a_resource_goes_to_every_link_under_its_account() {
        check(&table(), &delivery(Some("acc"), &[], None), &["a", "b", "c", "d"]);
        check(&table(), &delivery(Some("other"), &[], None), &[]);
        check(&table(), &delivery(None, &[], None), &[]);
    }

    #[test]
    fn a_bound_delivery_stays_in_its_organisation() {
        check(&table(), &delivery(Some("acc"), &["42"], Some("two")), &["b"]);
        check(&table(), &delivery(Some("acc"), &[], Some("one")), &["a", "d"]);
        check(&table(), &delivery(Some("acc"), &["42"], Some("nobody")), &[]);
    }

    #[test]
    fn a_removed_link_claims_nothing_however_it_was_removed() {
        let mut table = table();
        let removed = Route { active: false, ..route("a", "one", "resource", "42") };
        assert!(!table.put(&removed));
        table.remove("github.resource.42.b");
        table.remove("github.account.acc.c");
        check(&table, &delivery(Some("acc"), &["42"], None), &[]);
        check(&table, &delivery(Some("acc"), &[], None), &["d"]);
        assert_eq!(table.len(), 1);
        table.put(&route("d", "one", "resource", "43"));
        assert_eq!(table.len(), 1);
    }
}
