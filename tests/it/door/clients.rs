//! The official Rust client, unmodified.

use crate::{
    http::{ADMIN, Site},
    sdks::tell,
};
use clickhouse::{Client, Compression, Row, error::Error};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Row, Serialize, Deserialize)]
struct Sale {
    company_id: i16,
    item: String,
    amount: u64,
}

#[derive(Debug, Row, Deserialize)]
struct Wrong {
    #[expect(dead_code, reason = "it is of another type than the column, so it is never there")]
    item: u64,
}

#[derive(Debug, Row, Deserialize)]
struct Numbered {
    number: u64,
    text: String,
}

fn client(site: &Site, token: &str) -> Client {
    Client::default().with_url(format!("http://{}", site.clickhouse)).with_user("anyone").with_password(token)
}

#[tokio::test]
async fn the_rust_client_reads_and_writes() {
    let site = Site::with_shop().await;
    let mut passes = Vec::new();
    let client = client(&site, ADMIN);

    let sales = client.query("SELECT ?fields FROM sales WHERE item = ? ORDER BY company_id").bind("tea");
    let sales = sales.fetch_all::<Sale>().await.unwrap();
    assert_eq!(sales[0], Sale { company_id: 1, item: "tea".into(), amount: u64::MAX });
    let one: u64 = client
        .query("SELECT toUInt64(sum(company_id)) FROM sales WHERE amount < {most:UInt64}")
        .param("most", 6)
        .fetch_one()
        .await
        .unwrap();
    assert_eq!(one, 3);
    passes.push("query with rows of types that are checked, with bound values and parameters");

    let wrong = client.query("SELECT item FROM sales").fetch_all::<Wrong>().await;
    assert!(matches!(wrong, Err(Error::SchemaMismatch(_))), "{wrong:?}");
    let unknown = client.query("SELECT nope FROM sales").fetch_all::<Sale>().await;
    assert!(matches!(&unknown, Err(Error::BadResponse(it)) if it.contains("(UNKNOWN_IDENTIFIER)")), "{unknown:?}");
    let nobody = self::client(&site, "p.nothing").query("SELECT 1").fetch_one::<u8>().await;
    assert!(matches!(&nobody, Err(Error::BadResponse(it)) if it.contains("Code: 516")), "{nobody:?}");

    for compression in [Compression::None, Compression::Lz4] {
        let client = client.clone().with_compression(compression);
        let query = "SELECT number, toString(number) AS text FROM numbers(1000000)";
        let mut cursor = client.query(query).fetch::<Numbered>().unwrap();
        let mut seen = 0;
        while let Some(row) = cursor.next().await.unwrap() {
            assert_eq!((row.number, row.text.as_str()), (seen, seen.to_string().as_str()));
            seen += 1;
        }
        assert_eq!(seen, 1_000_000);
    }
    passes.push("a million rows as a stream, plain and packed");

    let query = "SELECT number + throwIf(number = 900000) AS number, '' AS text FROM numbers(1000000)";
    let mut cursor = client.query(query).fetch::<Numbered>().unwrap();
    let error = loop {
        match cursor.next().await {
            Ok(Some(_)) => (),
            Ok(None) => panic!("a broken answer was taken for a whole one"),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"), "{error}");
    passes.push("errors, also amid rows");

    let lines = client.query("SELECT item FROM sales ORDER BY item LIMIT 1").fetch_bytes("JSONEachRow").unwrap();
    let mut lines = lines;
    assert_eq!(lines.collect().await.unwrap(), "{\"item\":\"mug, blue\"}\n");
    passes.push("bytes of any format");

    for (number, compression) in [(7, Compression::None), (8, Compression::Lz4)] {
        let client = client.clone().with_compression(compression);
        let mut insert = client.insert::<Sale>("sales").await.unwrap();
        for amount in 0..100_000 {
            insert.write(&Sale { company_id: number, item: "seed".into(), amount }).await.unwrap();
        }
        insert.end().await.unwrap();
        let query = "SELECT count(), sum(amount) FROM sales WHERE company_id = ?";
        let (count, sum): (u64, u64) = client.query(query).bind(number).fetch_one().await.unwrap();
        assert_eq!((count, sum), (100_000, 100_000 * 99_999 / 2));
    }
    passes.push("inserts with types that are checked, plain and packed");

    let tables = client.query("SHOW TABLES").fetch_all::<String>().await.unwrap();
    assert_eq!(tables, ["all_sales", "by_item", "moods", "sales"]);
    passes.push("SHOW TABLES");
    tell("clickhouse", "0.15.3", &passes.join("; "));
    site.stop().await;
}
