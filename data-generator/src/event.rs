//! Audit-log events: who did what to which thing, and on which device.
//!
//! In: a random number generator and a moment. Out: [`Event`]s, skewed as real ones are: few companies and few
//! people make most of them. Where events go is not known here.

use fake::{
    Fake,
    faker::name::raw::{FirstName, LastName},
    locales::EN,
};
use jiff::Timestamp;
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde::Serialize;
use std::collections::BTreeSet;

/// One event, serialized as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// UTC, with microseconds: `2026-01-31T09:30:00.123456`.
    pub datetime: String,
    pub company_id: u8,
    /// `<entity>_<action>`.
    pub event: String,
    pub payload: Payload,
    pub device: Device,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Payload {
    /// 32 hex digits.
    pub entity_id: String,
    /// An e-mail address.
    pub author: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Device {
    pub browser: &'static str,
    #[serde(rename = "OS")]
    pub os: &'static str,
}

/// Companies with their people and things, out of which events come one after the other.
pub struct Generator {
    random: StdRng,
    companies: Vec<Company>,
}

struct Company {
    id: u8,
    weight: u32,
    authors: Vec<String>,
    /// For each of [`ENTITIES`]: what was made and is still there.
    entities: [Vec<String>; ENTITIES.len()],
}

/// A choice and how often it is made.
type Weighted<T> = (T, u32);

const ENTITIES: [&str; 5] = ["project", "folder", "file", "group", "user"];
const ENTITY_WEIGHTS: [Weighted<usize>; 5] = [(0, 15), (1, 20), (2, 45), (3, 8), (4, 12)];
const ACTIONS: [Weighted<Action>; 3] = [(Action::Updated, 60), (Action::Created, 30), (Action::Deleted, 10)];

/// Domain, weight and number of people of each company.
const COMPANIES: [(&str, u32, usize); 5] = [
    ("swallow.example", 40, 40),
    ("heron.example", 25, 25),
    ("kingfisher.example", 18, 15),
    ("wagtail.example", 12, 10),
    ("bittern.example", 5, 5),
];

/// A system with the browsers that run on it.
type System = (&'static str, &'static [Weighted<&'static str>]);

const DEVICES: [Weighted<System>; 5] = [
    (("Windows", &[("Chrome", 75), ("Firefox", 18), ("Brave", 7)]), 44),
    (("OSX", &[("Chrome", 50), ("Safari", 35), ("Firefox", 9), ("Brave", 6)]), 26),
    (("Android", &[("Chrome", 85), ("Firefox", 9), ("Brave", 6)]), 12),
    (("iOS", &[("Safari", 80), ("Chrome", 15), ("Brave", 5)]), 10),
    (("Linux", &[("Firefox", 48), ("Chrome", 40), ("Brave", 12)]), 8),
];

/// People and their addresses are the same in every run, so that a second run adds to the first one's rollups.
const PEOPLE_SEED: u64 = 1855;

/// The most things of a kind that a company keeps.
const MOST_ENTITIES: usize = 1_000;

#[derive(Debug, Clone, Copy)]
enum Action {
    Created,
    Updated,
    Deleted,
}

impl Generator {
    /// With a seed the same events come again, in the same order.
    pub fn new(seed: Option<u64>) -> Generator {
        let mut people = StdRng::seed_from_u64(PEOPLE_SEED);
        let companies = COMPANIES.iter().zip(1..).map(|(&(domain, weight, size), id)| Company {
            id,
            weight,
            authors: authors(&mut people, domain, size),
            entities: Default::default(),
        });
        let random = seed.map_or_else(rand::make_rng, StdRng::seed_from_u64);
        Generator { random, companies: companies.collect() }
    }

    /// The next event, said to have happened `at`.
    pub fn event(&mut self, at: Timestamp) -> Event {
        let random = &mut self.random;
        let weights: Vec<Weighted<usize>> = self.companies.iter().map(|it| it.weight).enumerate().collect();
        let company = &mut self.companies[pick(random, &weights)];
        let kind = pick(random, &ENTITY_WEIGHTS);
        let action = pick(random, &ACTIONS);
        let entities = &mut company.entities[kind];
        let known = (!entities.is_empty()).then(|| random.random_range(0..entities.len().max(1)));
        let entity_id = match (action, known) {
            (Action::Updated, Some(index)) => entities[index].clone(),
            (Action::Deleted, Some(index)) => entities.swap_remove(index),
            (_, known) => {
                let fresh = format!("{:032x}", random.random::<u128>());
                match known {
                    Some(index) if entities.len() >= MOST_ENTITIES => entities[index] = fresh.clone(),
                    _ => entities.push(fresh.clone()),
                }
                fresh
            }
        };
        // The product of two even numbers is skewed to small ones: the first people of a company are its busiest.
        let skewed = random.random::<f64>() * random.random::<f64>();
        let author = company.authors[(skewed * company.authors.len() as f64) as usize].clone();
        let (os, browsers) = pick(random, &DEVICES);
        Event {
            datetime: at.strftime("%Y-%m-%dT%H:%M:%S%.6f").to_string(),
            company_id: company.id,
            event: format!("{}_{}", ENTITIES[kind], action.word()),
            payload: Payload { entity_id, author },
            device: Device { browser: pick(random, browsers), os },
        }
    }
}

impl Action {
    fn word(self) -> &'static str {
        match self {
            Action::Created => "created",
            Action::Updated => "updated",
            Action::Deleted => "deleted",
        }
    }
}

fn authors(random: &mut StdRng, domain: &str, size: usize) -> Vec<String> {
    let mut res = BTreeSet::new();
    while res.len() < size {
        let first: &str = FirstName(EN).fake_with_rng(random);
        let last: &str = LastName(EN).fake_with_rng(random);
        let name =
            format!("{first}.{last}").to_lowercase().replace(|it: char| !it.is_ascii_alphanumeric() && it != '.', "");
        res.insert(format!("{name}@{domain}"));
    }
    res.into_iter().collect()
}

fn pick<T: Copy>(random: &mut StdRng, choices: &[Weighted<T>]) -> T {
    choices.choose_weighted(random, |choice| choice.1).expect("the tables above are not empty and weigh something").0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn events(seed: Option<u64>, number: usize) -> Vec<Event> {
        let mut generator = Generator::new(seed);
        (0..number).map(|_| generator.event(Timestamp::UNIX_EPOCH)).collect()
    }

    #[test]
    fn the_shape_is_the_one_that_the_data_source_reads() {
        let at: Timestamp = "2026-01-31T09:30:00.1234567Z".parse().unwrap();
        let event = Generator::new(Some(1)).event(at);
        let json = serde_json::to_string(&event).unwrap();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert!(json.starts_with(r#"{"datetime":"2026-01-31T09:30:00.123456","company_id":"#), "{json}");
        assert_eq!(keys(&value), ["company_id", "datetime", "device", "event", "payload"]);
        assert_eq!(keys(&value["payload"]), ["author", "entity_id"]);
        assert_eq!(keys(&value["device"]), ["OS", "browser"]);

        fn keys(value: &serde_json::Value) -> Vec<&str> {
            let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
            keys.sort_unstable();
            keys
        }
    }

    #[test]
    fn every_value_is_one_that_may_be() {
        let actions = ["created", "updated", "deleted"];
        for event in events(None, 5_000) {
            let (entity, action) = event.event.split_once('_').unwrap();
            assert!(ENTITIES.contains(&entity) && actions.contains(&action), "{}", event.event);
            assert!((1..=5).contains(&event.company_id));
            let id = &event.payload.entity_id;
            assert!(id.len() == 32 && id.bytes().all(|it| it.is_ascii_hexdigit() && !it.is_ascii_uppercase()), "{id}");
            let (name, domain) = event.payload.author.split_once('@').unwrap();
            assert!(name.contains('.') && domain.ends_with(".example"), "{}", event.payload.author);
            assert!(["Chrome", "Brave", "Firefox", "Safari"].contains(&event.device.browser));
            assert!(["Windows", "Linux", "OSX", "iOS", "Android"].contains(&event.device.os));
        }
    }

    #[test]
    fn all_companies_kinds_and_devices_appear_and_some_far_more_often() {
        let events = events(Some(7), 10_000);
        let count = |key: fn(&Event) -> String| {
            let mut counts = BTreeMap::new();
            events.iter().for_each(|it| *counts.entry(key(it)).or_insert(0) += 1);
            counts
        };
        let companies = count(|it| it.company_id.to_string());
        assert_eq!(companies.len(), 5);
        assert!(companies["1"] > 4 * companies["5"], "{companies:?}");
        assert_eq!(count(|it| it.event.clone()).len(), 15);
        assert_eq!(count(|it| it.device.os.to_owned()).len(), 5);
        assert_eq!(count(|it| it.device.browser.to_owned()).len(), 4);
        let authors = count(|it| it.payload.author.clone());
        assert!(authors.len() <= 95, "people repeat: {}", authors.len());
    }

    #[test]
    fn a_seed_brings_the_same_events_again() {
        assert_eq!(events(Some(42), 500), events(Some(42), 500));
        assert_ne!(events(Some(42), 500), events(Some(43), 500));
        assert_ne!(events(None, 500), events(None, 500));
    }

    #[test]
    fn people_are_the_same_without_a_seed() {
        let authors = |seed| Generator::new(seed).companies.into_iter().flat_map(|it| it.authors).collect::<Vec<_>>();
        assert_eq!(authors(None), authors(Some(1)));
    }
}
