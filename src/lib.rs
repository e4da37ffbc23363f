//! birdhouse: the house where Tinybird data projects live on your own machine.
//!
//! The modules stand in layers, listed in `ARCHITECTURE.md` and kept by `tests/it/tidy.rs`:
//! a module uses modules of lower layers only.

pub mod app;
pub mod auth;
pub mod cli;
pub mod datafile;
pub mod ddl;
pub mod diagnostic;
pub mod engine;
pub mod ingest;
pub mod jobs;
pub mod memory;
pub mod name;
pub mod native;
pub mod observe;
pub mod plan;
pub mod project;
pub mod query;
pub mod server;
pub mod sql;
pub mod store;
pub mod template;
pub mod threads;
