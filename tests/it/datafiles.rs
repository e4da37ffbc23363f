//! `POST /v0/datafiles`: files by their names alone, put into the deployed project.

use crate::http::{ADMIN, Reply, Site, reply};
use reqwest::{Method, multipart};

async fn push(site: &Site, token: &str, query: &str, files: &[(&str, &str)]) -> Reply {
    let mut form = multipart::Form::new();
    for (name, text) in files {
        form = form.part((*name).to_owned(), multipart::Part::text((*text).to_owned()).file_name((*name).to_owned()));
    }
    reply(site.request(Method::POST, &format!("/v0/datafiles{query}")).bearer_auth(token).multipart(form)).await
}

const NESTS: &str = "SCHEMA >\n    `eggs` Int32\n\nENGINE \"MergeTree\"\nENGINE_SORTING_KEY \"eggs\"\n";
const EGGS: &str = "NODE n\nSQL >\n    SELECT sum(eggs) AS eggs FROM nests\n\nTYPE endpoint\n";

#[tokio::test(flavor = "multi_thread")]
async fn datafiles_by_name_become_a_part_of_the_project() {
    let site = Site::start().await;
    let both = [("nests.datasource", NESTS), ("eggs.pipe", EGGS)];
    let tried = push(&site, ADMIN, "?filenames=nests.datasource&dry_run=True", &both).await;
    assert_eq!((tried.status.as_u16(), &tried.json()["result"]), (200, &"success".into()), "{}", tried.text);
    assert_eq!(site.get("/v0/pipes/eggs.json", ADMIN).await.status, 404);

    let pushed = push(&site, ADMIN, "", &both).await;
    assert_eq!(pushed.status, 200, "{}", pushed.text);
    assert_eq!(site.get("/v0/pipes/eggs.json", ADMIN).await.json()["rows"], 1);
    assert_eq!(push(&site, ADMIN, "", &both).await.json()["result"], "no_changes");

    // Another text takes the place of the deployed one where that is asked for.
    let text = EGGS.replace("sum(eggs)", "max(eggs)");
    let other = [("eggs.pipe", text.as_str())];
    assert!(push(&site, ADMIN, "", &other).await.error().contains("already a pipe `eggs`"));
    assert_eq!(push(&site, ADMIN, "?force=True", &other).await.status, 200);
    assert!(site.get("/v0/pipes/eggs", ADMIN).await.text.contains("max(eggs)"));

    // What does not fit is said, and nothing of it is there.
    let broken =
        [("eggs.pipe", "NODE n\nSQL >\n    SELECT nope FROM nests\n\nTYPE endpoint\n"), ("more.datasource", NESTS)];
    let refused = push(&site, ADMIN, "?force=true", &broken).await;
    assert_eq!(refused.status, 400);
    assert!(refused.error().contains("nope"), "{}", refused.text);
    assert_eq!(site.get("/v0/datasources/more", ADMIN).await.status, 404);
    for name in ["birds.csv", "../eggs.pipe"] {
        let refused = push(&site, ADMIN, "", &[(name, EGGS)]).await;
        assert!(refused.status == 400 && refused.error().contains(name), "{}", refused.text);
    }
    assert_eq!(push(&site, ADMIN, "", &[]).await.status, 400);

    let reader = site.token("reader", &["PIPES:READ:eggs"]).await;
    assert_eq!(push(&site, &reader, "", &both).await.status, 403);
    site.stop().await;
}
