//! A stranger's second try over HTTP: ideas that do not ask for hidden rows, but for what the engine could say about
//! them. Every answer is compared with that of a server that never held the hidden rows and knows no filter.

use crate::{
    door::Told,
    http::{ADMIN, Reply, Site, reply},
};
use reqwest::Method;
use serde_json::Value;

const FILES: &[(&str, &str)] = &[
    (
        "datasources/orders.datasource",
        "SCHEMA >\n    `company` Int16,\n    `id` UInt32,\n    `item` LowCardinality(String),\n    `amount` UInt64,\n    \
         `at` DateTime,\n    `note` Nullable(String),\n    `price` Decimal(9, 2)\n\nENGINE \"MergeTree\"\n\
         ENGINE_PARTITION_KEY \"company\"\nENGINE_SORTING_KEY \"id\"\nENGINE_SETTINGS \"index_granularity=2\"\n\
         INDEXES >\n    amounts amount TYPE minmax GRANULARITY 1\n    items item TYPE set(100) GRANULARITY 1\n",
    ),
    (
        "datasources/states.datasource",
        "SCHEMA >\n    `id` UInt32,\n    `owner` String,\n    `state` String,\n    `ver` UInt32\n\n\
         ENGINE \"ReplacingMergeTree\"\nENGINE_VER \"ver\"\nENGINE_SORTING_KEY \"owner, id\"\n",
    ),
    (
        "datasources/vault.datasource",
        "SCHEMA >\n    `id` UInt32,\n    `word` String\n\nENGINE \"MergeTree\"\nENGINE_SORTING_KEY \"id\"\n",
    ),
    ("endpoints/own.pipe", "NODE n\nSQL >\n    SELECT id, item, amount FROM orders ORDER BY id\n\nTYPE endpoint\n"),
    (
        "endpoints/found.pipe",
        "NODE base\nSQL >\n    %\n    SELECT * FROM orders WHERE 1\n    {% if defined(item) %} AND item = {{ String(item) }} \
         {% end %}\n\nNODE n\nSQL >\n    %\n    SELECT item, sum(amount) AS total FROM base GROUP BY item\n    \
         ORDER BY {{ column(sort, 'item') }} LIMIT {{ Int32(limit, 10) }}\n\nTYPE endpoint\n",
    ),
    ("endpoints/closed.pipe", "NODE n\nSQL >\n    SELECT word FROM vault\n\nTYPE endpoint\n"),
];

const VISIBLE: &str = "company,id,item,amount,at,note,price\n1,1,tea,5,2026-01-01 00:00:00,,1.50\n\
                       1,2,mug,7,2026-01-02 00:00:00,own,2.50\n1,5,tea,9,2026-01-05 00:00:00,,3.50\n";
const HIDDEN: &str = "2,3,HIDDEN-cup,987654321,2031-07-03 00:00:00,HIDDEN-note,98765.43\n\
                      3,4,HIDDEN-pot,987654322,2031-07-04 00:00:00,HIDDEN-other,98765.44\n\
                      -77,6,HIDDEN-pan,0,1971-07-07 00:00:00,,0.01\n";
const OWN_STATES: &str = "id,owner,state,ver\n1,me,new,1\n2,me,done,1\n1,me,old,0\n";
const OTHER_STATES: &str = "1,you,HIDDEN-a,9\n7,you,HIDDEN-b,1\n";

const MARKERS: &[&str] = &["HIDDEN", "98765", "2031", "1971-", "-77", "swordfish", "vault", "w00_"];

const SCOPES: &[&str] = &[
    "PIPES:READ:own",
    "PIPES:READ:found",
    "DATASOURCES:READ:orders:company = 1",
    "DATASOURCES:READ:states:owner = 'me'",
];
const PLAIN: &[&str] = &["PIPES:READ:own", "PIPES:READ:found", "DATASOURCES:READ:orders", "DATASOURCES:READ:states"];

const QUERIES: &[&str] = &[
    // What engines keep beside rows: partitions, parts, marks, counts.
    "SELECT count() FROM orders",
    "SELECT count(), min(company), max(company) FROM orders",
    "SELECT min(company) FROM orders",
    "SELECT max(id), min(id) FROM orders",
    "SELECT uniqExact(company) FROM orders",
    "SELECT company, count() FROM orders GROUP BY company ORDER BY company",
    "SELECT DISTINCT company FROM orders ORDER BY company",
    "SELECT count() FROM orders WHERE company = 2",
    "SELECT count() FROM orders WHERE company > 1",
    "SELECT count() FROM orders WHERE throwIf(company = 2) = 0",
    "SELECT count() FROM orders WHERE intDiv(1, company + 77) < 2",
    "SELECT count() FROM orders WHERE throwIf(amount > 1000) = 0 AND amount > 1000",
    "SELECT count() FROM orders WHERE amount > 1000 AND throwIf(item LIKE 'HID%') = 0",
    "SELECT count() FROM orders WHERE item IN ('HIDDEN-cup', 'tea')",
    "SELECT count() FROM orders WHERE has(['HIDDEN-cup'], item)",
    "SELECT id FROM orders WHERE id = 3 AND throwIf(id = 3) = 0",
    "SELECT id FROM orders WHERE id >= throwIf(id > 2) ORDER BY id",
    "SELECT id FROM orders WHERE toUInt8(assumeNotNull(note)) = 1",
    "SELECT id FROM orders WHERE toDate(item) = today()",
    "SELECT id FROM orders WHERE accurateCast(company, 'UInt8') = 1 ORDER BY id",
    "SELECT id FROM orders WHERE CAST(item, 'Enum8(\\'tea\\' = 1, \\'mug\\' = 2)') = 'tea' ORDER BY id",
    "SELECT id FROM orders WHERE arrayElement([1, 2], company) = 1 ORDER BY id",
    "SELECT id FROM orders WHERE tuple(company, id) IN ((2, 3), (1, 1))",
    "SELECT id FROM orders WHERE toYYYYMM(at) = 203107",
    "SELECT id FROM orders WHERE ignore(throwIf(at > '2030-01-01')) = 0 ORDER BY id",
    "SELECT id FROM orders WHERE NOT (company = 1)",
    "SELECT id FROM orders WHERE company = 1 OR throwIf(company != 1) = 0 ORDER BY id",
    "SELECT id FROM orders WHERE sleepEachRow(0) = 0 ORDER BY id",
    "SELECT _part FROM orders",
    "SELECT _partition_id FROM orders",
    "SELECT _partition_value FROM orders",
    "SELECT _part_index, _part_uuid FROM orders",
    "SELECT _part_offset FROM orders",
    "SELECT _row_exists FROM orders",
    "SELECT _block_number FROM orders",
    "SELECT _block_offset FROM orders",
    "SELECT _sample_factor FROM orders",
    "SELECT _part_data_version FROM orders",
    "SELECT _disk_name FROM orders",
    "SELECT _distance FROM orders",
    "SELECT _table FROM orders",
    "SELECT orders._part FROM orders",
    "SELECT o.`_part` FROM orders AS o",
    "SELECT COLUMNS('^_part') FROM orders",
    "SELECT COLUMNS('_.*') FROM orders",
    "SELECT * FROM orders WHERE _partition_id = '2'",
    "SELECT id FROM orders PREWHERE _part_offset = 0",
    "SELECT id FROM orders ORDER BY _part",
    "SELECT count() FROM orders GROUP BY _part",
    "SELECT arrayMap(_part -> _part, [1])",
    "SELECT 1 AS _part FROM orders",
    "SELECT _part FROM (SELECT 1 AS _part FROM orders)",
    "SELECT minmax_count FROM orders",
    "SELECT * FROM mergeTreeProjection(orders, 'x')",
    "SELECT * FROM mergeTreeIndex(orders)",
    "SELECT * FROM mergeTreeAnalyzeIndexes(orders)",
    "EXPLAIN ESTIMATE SELECT * FROM orders",
    "EXPLAIN indexes = 1, projections = 1 SELECT * FROM orders",
    "EXPLAIN PIPELINE SELECT * FROM orders",
    "(EXPLAIN SELECT 1)",
    "SELECT * FROM (EXPLAIN ESTIMATE SELECT * FROM orders)",
    "SELECT explain FROM (EXPLAIN AST SELECT * FROM vault)",
    // Transformers of columns.
    "SELECT COLUMNS('i.*') APPLY(max) FROM orders",
    "SELECT * APPLY(toString) APPLY(length) FROM orders ORDER BY ALL",
    "SELECT * EXCEPT('.*e.*') FROM orders ORDER BY ALL",
    "SELECT * EXCEPT(note, price) REPLACE(amount + 1 AS amount) APPLY(x -> toString(x)) FROM orders ORDER BY ALL",
    "SELECT orders.* REPLACE(throwIf(company != 1) AS company) FROM orders ORDER BY ALL",
    "SELECT * APPLY(quantiles(0.1, 0.9)) FROM (SELECT amount, id FROM orders)",
    "SELECT COLUMNS(orders.id, orders.item) EXCEPT (id) FROM orders ORDER BY 1",
    "SELECT o.COLUMNS('id') FROM orders AS o ORDER BY 1",
    "SELECT * APPLY(getSetting) FROM orders",
    "SELECT * APPLY(dictGetString) FROM orders",
    "SELECT * EXCEPT STRICT nope FROM orders",
    "SELECT untuple(tuple(*)) FROM orders ORDER BY ALL",
    "SELECT tupleElement(tuple(*), 1) AS x FROM orders ORDER BY x",
    // Fills, interpolation, order.
    "SELECT id, amount FROM orders ORDER BY id WITH FILL FROM 1 TO 7 INTERPOLATE (amount AS amount + 1)",
    "SELECT at FROM orders ORDER BY at WITH FILL STEP INTERVAL 1 DAY",
    "SELECT id FROM orders ORDER BY id WITH FILL STALENESS 2",
    "SELECT id FROM orders ORDER BY id WITH FILL FROM (SELECT min(id) FROM orders) TO (SELECT max(id) FROM orders)",
    "SELECT id, item FROM orders ORDER BY id DESC LIMIT 1",
    "SELECT id FROM orders ORDER BY amount DESC LIMIT 1, 1",
    "SELECT id FROM orders ORDER BY id OFFSET 1 ROW FETCH FIRST 1 ROWS ONLY",
    "SELECT id FROM orders ORDER BY company, id FETCH FIRST 1 ROWS WITH TIES",
    "SELECT id FROM orders ORDER BY id LIMIT -1",
    "SELECT id FROM orders ORDER BY id LIMIT 0.5",
    "SELECT item FROM orders ORDER BY item COLLATE 'en' LIMIT 1",
    "SELECT id FROM orders LIMIT 1 BY company, id ORDER BY id",
    "SELECT id FROM orders ORDER BY throwIf(amount > 1000), id",
    "SELECT groupArraySorted(10)(id) FROM orders",
    "SELECT item FROM orders GROUP BY item WITH TOTALS ORDER BY item LIMIT 0",
    "SELECT item, sum(amount) FROM orders GROUP BY ROLLUP(item) ORDER BY ALL",
    "SELECT 1 FROM orders GROUP BY () ",
    "SELECT id FROM orders LIMIT 0",
    "SELECT * FROM orders WHERE 0",
    "SELECT toTypeName(item), toTypeName(price) FROM orders LIMIT 1",
    // Aggregates with state, errors with values.
    "SELECT hex(groupBitmapState(id)) FROM orders",
    "SELECT finalizeAggregation(sumState(amount)) FROM orders",
    "SELECT sumMerge(CAST(sumState(amount), 'AggregateFunction(sum, UInt64)')) FROM orders",
    "SELECT estimateCompressionRatio(item) > 0 FROM orders",
    "SELECT topKWeighted(2)(item, amount) FROM orders",
    "SELECT anyHeavy(company), anyLast(company) FROM (SELECT * FROM orders ORDER BY id)",
    "SELECT mannWhitneyUTest(amount, company = 1) FROM orders",
    "SELECT sequenceMatch('(?1)(?2)')(at, company = 1, company = 2) FROM orders",
    "SELECT windowFunnel(100)(at, company = 1, company = 2) FROM orders",
    "SELECT retention(company = 1, company = 2) FROM orders",
    "SELECT histogram(3)(amount) FROM orders",
    "SELECT entropy(item), simpleLinearRegression(id, amount) FROM orders",
    "SELECT sumMap([company], [amount]) FROM orders",
    "SELECT groupConcat(',')(item) FROM (SELECT item FROM orders ORDER BY id)",
    "SELECT groupArrayIntersect([company]) FROM orders",
    "SELECT categoricalInformationValue(company = 1, id > 1) FROM orders",
    "SELECT sparkbar(9)(id, amount) FROM orders",
    "SELECT flameGraph([id]) FROM orders",
    "SELECT exponentialMovingAverage(5)(amount, id) FROM orders",
    "SELECT uniq(item), uniqHLL12(item), uniqTheta(item) FROM orders",
    "SELECT minIf(amount, company != 1), countIf(throwIf(company != 1) = 0) FROM orders",
    "SELECT sumOrNullIf(amount, company = 2) FROM orders",
    "SELECT argMaxIf(item, amount, company = 2) FROM orders",
    "SELECT countDistinct(company), countResample(0, 10, 1)(id, company) FROM orders",
    "SELECT groupUniqArrayArray([item]) AS x FROM (SELECT item FROM orders WHERE id = 1)",
    "SELECT toDecimal32(price, 2) * 100000000 FROM orders ORDER BY 1",
    "SELECT toInt8(amount) FROM orders ORDER BY id",
    "SELECT reinterpretAsUInt64(item) > 0 FROM orders ORDER BY id",
    "SELECT parseDateTimeBestEffort(item) FROM orders",
    "SELECT JSONExtract(item, 'Tuple(a UInt8)') FROM orders ORDER BY id",
    "SELECT toUUID(item) FROM orders",
    "SELECT IPv4StringToNum(item) FROM orders",
    "SELECT item::Date FROM orders",
    "SELECT caseWithExpression(item, 'HIDDEN-cup', 1, 0) FROM orders ORDER BY id",
    "SELECT transform(item, ['HIDDEN-cup'], [1], 0) FROM orders ORDER BY id",
    "SELECT if(company = 1, 0, throwIf(1)) FROM orders",
    "SELECT multiIf(company = 2, throwIf(1), 0) FROM orders",
    "SELECT company = 1 OR throwIf(1) FROM orders",
    "SELECT regexpQuoteMeta(item), extract(item, '(') FROM orders",
    "SELECT geoToH3(toFloat64(amount), 1., 5) FROM orders",
    "SELECT char(amount) FROM orders ORDER BY id",
    "SELECT throwIf(1, 'x', toInt32(amount)) FROM orders",
    "SELECT lowCardinalityIndices(item) FROM orders ORDER BY id",
    "SELECT lowCardinalityKeys(item) FROM orders ORDER BY id",
    "SELECT dumpColumnStructure(item) FROM orders ORDER BY id",
    "SELECT blockSize() FROM orders",
    "SELECT blockNumber(), rowNumberInBlock() FROM orders",
    "SELECT byteSize(*) FROM orders ORDER BY ALL",
    "SELECT queryID()",
    "SELECT initialQueryID()",
    "SELECT transactionID(), transactionLatestSnapshot()",
    "SELECT currentUser(), user(), currentProfiles(), enabledRoles(), defaultRoles()",
    "SELECT getSetting('readonly'), getSettingOrDefault('log_comment', '')",
    "SELECT getServerSetting('max_server_memory_usage')",
    "SELECT getMergeTreeSetting('index_granularity')",
    "SELECT getMacro('x')",
    "SELECT getClientHTTPHeader('x')",
    "SELECT getMaxTableNameLengthForDatabase('default')",
    "SELECT hostName(), fqdn(), tcpPort(), serverUUID(), version(), uptime(), buildId()",
    "SELECT connectionId(), connection_id()",
    "SELECT filesystemAvailable(), filesystemCapacity()",
    "SELECT currentDatabase(), database(), schema(), currentSchemas(true)",
    "SELECT tableName FROM orders",
    "SELECT hasColumnInTable('', 'orders', 'id')",
    "SELECT hasThreadFuzzer()",
    "SELECT isMergeTreePartCoveredBy('all_1_1_0', 'all_1_1_0')",
    "SELECT partitionId(company), partitionID(1) FROM orders ORDER BY 1",
    "SELECT addressToLine(1), demangle('x'), addressToSymbol(1)",
    "SELECT trap('access violation'), logTrace('x')",
    "SELECT errorCodeToName(60)",
    "SELECT evalMLMethod('m', 1), catboostEvaluate('/etc/passwd', 1)",
    "SELECT encrypt('aes-128-ecb', item, '1234567890123456') != '' AS x FROM orders ORDER BY x",
    "SELECT generateSerialID('x')",
    "SELECT showCertificate()",
    "SELECT file('/etc/passwd')",
    "SELECT * APPLY (x -> file(x)) FROM (SELECT '/etc/passwd')",
    "SELECT arrayFold(file, ['/etc/passwd'], '')",
    "SELECT tuple(1).file",
    "SELECT file FROM (SELECT 1 AS file)",
    "SELECT 1 AS file",
    "WITH file AS (SELECT 1 AS x) SELECT * FROM file",
    "WITH (x -> file(x)) AS f SELECT f('/etc/passwd')",
    "WITH x -> (SELECT word FROM vault LIMIT 1) AS f SELECT f(1)",
    "SELECT dictGet('d', 'a', 1), dictHas('d', 1)",
    "SELECT dictGetOrDefault('vault', 'word', 1, '')",
    "SELECT dictGetHierarchy('d', 1), dictGetAll('d', 'a', 1)",
    "SELECT joinGet('vault', 'word', 1)",
    "SELECT joinGetOrNull(vault, 'word', 1)",
    "SELECT * FROM dictionary('vault')",
    // Tables by other ways.
    "SELECT * FROM (VALUES (1), (2))",
    "SELECT * FROM VALUES (1, 'a')",
    "SELECT * FROM values('a String', ('x'), ((SELECT any(word) FROM vault)))",
    "SELECT * FROM values('a String', (SELECT any(item) FROM orders))",
    "SELECT * FROM orders(company = 2)",
    "SELECT * FROM own(item = 'x')",
    "SELECT * FROM view(SELECT * FROM vault)",
    "SELECT * FROM viewIfPermitted(SELECT * FROM vault ELSE null('a Int8'))",
    "SELECT * FROM null('a Int8')",
    "SELECT * FROM generateRandom('a Int8', 1, 1, 1) LIMIT 0",
    "SELECT * FROM numbers(3) AS orders",
    "SELECT * FROM numbers(1) AS vault, vault",
    "SELECT * FROM generate_series(1, 3)",
    "SELECT * FROM zeros(2)",
    "SELECT * FROM eval('SELECT 1')",
    "SELECT * FROM fuzzQuery('SELECT * FROM vault')",
    "SELECT * FROM fuzzJSON('{}')",
    "SELECT * FROM loop(orders) LIMIT 1",
    "SELECT * FROM merge('.*')",
    "SELECT * FROM merge(currentDatabase(), 'vault')",
    "SELECT * FROM remote('127.0.0.1', view(SELECT 1))",
    "SELECT * FROM cluster('default', system.one)",
    "SELECT * FROM input('a Int8')",
    "SELECT * FROM format(CSV, '1')",
    "SELECT * FROM url('http://127.0.0.1:1/')",
    "SELECT * FROM executable('id', 'CSV', 'a String')",
    "SELECT * FROM timeSeriesData(vault)",
    "SELECT * FROM sqlite('x', 'y')",
    "SELECT * FROM primes(3)",
    "SELECT * FROM system.one",
    "SELECT * FROM system.numbers LIMIT 1",
    "SELECT 1 IN system.tables",
    "SELECT 'vault' IN (SELECT name FROM system.tables)",
    "SELECT (SELECT count() FROM system.parts)",
    "SELECT 1 IN (SELECT 1 FROM system.query_condition_cache)",
    "SELECT * FROM orders AS o, system.one AS vault",
    "SELECT id FROM orders WHERE id IN vault",
    "SELECT id FROM orders WHERE id IN (vault)",
    "SELECT id FROM orders WHERE (id, 1) IN (SELECT id, 1 FROM vault)",
    "SELECT id FROM orders WHERE id NOT IN (SELECT id FROM orders WHERE company = 2) ORDER BY id",
    "SELECT id FROM orders WHERE in(id, (SELECT id FROM states)) ORDER BY id",
    "SELECT count() FROM orders GLOBAL ANY LEFT JOIN states USING id",
    "SELECT o.id, s.state FROM orders o LEFT JOIN states s FINAL ON o.id = s.id ORDER BY ALL",
    "SELECT o.id FROM orders o PASTE JOIN (SELECT 1 AS y) AS s",
    "SELECT count() FROM orders o FULL JOIN states s ON o.id = s.id WHERE o.id = 0 OR s.id = 0",
    "SELECT count() FROM states s RIGHT ANTI JOIN orders o ON o.id = s.id",
    "SELECT o.id FROM orders o ASOF LEFT JOIN orders p ON o.company = p.company AND o.id >= p.id ORDER BY 1",
    "SELECT count() FROM orders o JOIN orders p ON o.id != p.id",
    "SELECT count() FROM orders o JOIN states s ON o.id = s.id AND throwIf(s.owner != 'me') = 0",
    "SELECT id, ver FROM states FINAL ORDER BY id",
    "SELECT count() FROM states FINAL PREWHERE throwIf(owner = 'you') = 0",
    "SELECT id FROM states FINAL WHERE state = 'old'",
    "SELECT id FROM states WHERE owner = 'you' OR throwIf(owner = 'you')",
    "SELECT argMax(state, ver) FROM states GROUP BY id ORDER BY 1",
    "WITH t AS MATERIALIZED (SELECT * FROM orders) SELECT count() FROM t",
    "WITH RECURSIVE t AS (SELECT min(id) AS x FROM orders UNION ALL SELECT x + 1 FROM t WHERE x < (SELECT max(id) FROM orders)) SELECT count() FROM t",
    "WITH RECURSIVE orders AS (SELECT 1 AS id UNION ALL SELECT id + 1 FROM orders WHERE id < 3) SELECT max(id) FROM orders",
    "WITH orders AS (SELECT 2 AS company) SELECT company FROM orders",
    "WITH company AS (SELECT 2) SELECT count() FROM orders",
    "WITH 1 AS `company` SELECT count() FROM orders WHERE company = 1",
    "SELECT 2 AS company, count() FROM orders GROUP BY company",
    "SELECT (SELECT id FROM orders WHERE company = 2) AS x",
    "SELECT EXISTS(SELECT 1 FROM orders WHERE item LIKE 'HIDDEN%')",
    "SELECT id FROM orders AS o WHERE EXISTS (SELECT 1 FROM states AS s WHERE s.id = o.id) ORDER BY id",
    "SELECT id, (SELECT max(p.amount) FROM orders AS p WHERE p.company = o.company) AS x FROM orders AS o ORDER BY id",
    "SELECT count() FROM (SELECT * FROM orders UNION ALL SELECT * FROM orders)",
    "SELECT id FROM orders INTERSECT DISTINCT SELECT id FROM states ORDER BY 1",
    "SELECT id FROM orders EXCEPT ALL SELECT id FROM states ORDER BY 1",
    "SELECT * FROM own WHERE throwIf(amount > 1000) = 0",
    "SELECT total FROM found ORDER BY total",
    "SELECT count() FROM own, found, own AS third",
    "SELECT * FROM base",
    "SELECT * FROM n",
    "SELECT * FROM closed",
    // Statements, settings, formats, caches.
    "SELECT 1 SETTINGS use_query_cache = 1",
    "SELECT * FROM orders SETTINGS use_query_condition_cache = 1",
    "SELECT * FROM (SELECT * FROM orders SETTINGS additional_table_filters = {})",
    "SELECT 1 FORMAT Null SETTINGS max_threads = 1",
    "SELECT 1 SETTINGS max_threads = 1 FORMAT Null",
    "SELECT * FROM orders FORMAT SQLInsert",
    "SELECT * FROM orders FORMAT Native",
    "SELECT 1 FORMAT",
    "SELECT 1 SETTINGS",
    "SELECT 1 AS settings",
    "SELECT 1 settings",
    "SELECT 1 PARALLEL WITH SELECT 2",
    "SELECT 1 \\G",
    "SELECT 1; SELECT word FROM vault",
    "SELECT 1;\u{a0}",
    "SELECT 1;;;",
    "SET x = 1; SELECT 1",
    "DESCRIBE (SELECT * FROM vault)",
    "SHOW COLUMNS FROM vault",
    "SHOW INDEX FROM orders",
    "SHOW SETTINGS LIKE 'max%'",
    "SHOW FUNCTIONS",
    "SELECT 1 INTO OUTFILE '/tmp/birdhouse-outfile'",
    "SELECT * FROM orders LIMIT 1 INTO OUTFILE '/tmp/birdhouse-outfile' APPEND",
    "UNDROP TABLE vault",
    "GRANT ALL ON *.* TO default",
    "REVOKE ALL ON *.* FROM default",
    "EXCHANGE TABLES vault AND orders",
    "COPY orders TO '/tmp/x'",
    "CALL x()",
    "DECLARE x Int8",
    "SELECT 1 WHERE 1 = 1 HAVING throwIf(1 = 2) = 0",
    // Letters.
    "SELECT id FROM\u{3000}orders\u{2028}ORDER BY id",
    "SELECT id FROM \u{feff}orders ORDER BY id",
    "SELECT id FROM \u{200b}orders ORDER BY id",
    "SELECT id FROM \u{ff4f}rders",
    "SELECT id FROM \u{043e}rders",
    "SELECT id FROM `ord\\x65rs` ORDER BY id",
    "SELECT id FROM `ord\\u0065rs` ORDER BY id",
    "SELECT id FROM \"ord\"\"ers\"",
    "SELECT id FROM ord/**/ers",
    "SELECT id FROM orders/* /* */ */ ORDER BY id",
    "SELECT id FROM orders /* x /* y */ ORDER BY id",
    "SELECT id FROM orders -- \r ORDER BY nope",
    "SELECT id FROM orders --\u{2028}, vault",
    "SELECT id FROM orders #, vault\n ORDER BY id",
    "SELECT $$ , vault $$, $x$ $$ $x$",
    "SELECT $\u{e9}$ x $\u{e9}$",
    "SELECT 'a' 'b'",
    "SELECT 'it''s', 'it\\'s', 'a\\\\'",
    "SELECT \u{2018}x\u{2019}, \u{201c}id\u{201d} FROM orders ORDER BY 2",
    "SELECT 0x1F, 0b11, 1_000, 1e3, .5, 1., 0x1p3",
    "SELECT 1_vault",
    "SELECT 1.vault FROM orders",
    "SELECT id.vault FROM orders",
    "SELECT b'01', x'6162', N'x'",
    "SELECT ?",
    "SELECT @@version",
    "SELECT @x",
    "SELECT $1",
    "SELECT {vault:Identifier}",
    "SELECT id FROM {x:Identifier}",
    "SELECT {x: Array(UInt8)}",
    "SELECT [1, 2][1], {'a': 1}",
    "SELECT id FROM orders\0, vault",
    "SELECT DATE '2026-01-01', TIMESTAMP '2026-01-01 00:00:00', INTERVAL '1' DAY",
    "SELECT CAST(1 AS Nested(a UInt8))",
    "SELECT CAST('x', 'AggregateFunction(sum, UInt64)')",
    "SELECT CAST(unhex('00'), 'AggregateFunction(uniq, String)')",
    "SELECT 1 ? 2 : 3",
    "SELECT id FROM orders QUALIFY throwIf(count() OVER () > 3) = 0 ORDER BY id",
    "SELECT first_value(item) OVER (ORDER BY amount DESC) FROM orders ORDER BY id",
    "SELECT lead(item) OVER (ORDER BY id), ntile(2) OVER (ORDER BY id) FROM orders ORDER BY id",
    "SELECT sum(amount) OVER (ORDER BY id RANGE BETWEEN 2 PRECEDING AND 2 FOLLOWING) FROM orders ORDER BY id",
    // Templates.
    "%SELECT * FROM {{symbol('orders')}} ORDER BY id",
    "%SELECT * FROM {{symbol('va' + 'ult')}} /* vault */",
    "%SELECT '{{String(x, 'y')}}' , {{String(x, \"' , (SELECT word FROM vault) , '\")}}",
    "%SELECT {{columns('company,id', 'id', 'orders')}} FROM orders ORDER BY ALL",
    "%SELECT * FROM {{TABLE('vault')}}",
    "%{{max_threads(4)}} SELECT 1",
    "%{% import os %}SELECT 1",
    "%SELECT {{sql_and(id__in=Array('1,2', 'Int32'))}} FROM orders ORDER BY 1",
    "%SELECT {{error('x')}} FROM vault",
    "%SELECT {{split_to_array('a,b')}}, {{enumerate_with_last([1])}} FROM orders",
    "%SELECT {{now()}} < 'x' FROM vault",
];

async fn site(hidden: bool) -> Site {
    let site = Site::start().await;
    let deployed = site.deploy(FILES, "").await;
    assert_eq!(deployed.json()["result"], "success", "{}", deployed.text);
    let rows = |own: &str, others: &str| if hidden { format!("{own}{others}") } else { own.to_owned() };
    site.append("orders", "append", &rows(VISIBLE, HIDDEN)).await;
    site.append("states", "append", &rows(OWN_STATES, OTHER_STATES)).await;
    if hidden {
        site.append("vault", "append", "id,word\n1,swordfish\n").await;
    }
    site
}

/// An answer without what it cost; an error as its status alone.
fn said(reply: &Reply) -> Result<Value, u16> {
    if reply.status != 200 {
        return Err(reply.status.as_u16());
    }
    let Ok(mut json) = serde_json::from_str::<Value>(&reply.text) else { return Ok(reply.text.clone().into()) };
    if let Some(answer) = json.as_object_mut() {
        answer.remove("statistics");
        answer.remove("rows_before_limit_at_least");
    }
    Ok(json)
}

fn tells_nothing(query: &str, reply: &Reply) -> Option<String> {
    // The time that it took has any digits.
    let text = match serde_json::from_str::<Value>(&reply.text) {
        Ok(mut json) => {
            _ = json.pointer_mut("/statistics/elapsed").map(Value::take);
            json.to_string()
        }
        Err(_) => reply.text.clone(),
    };
    let marker = MARKERS.iter().find(|it| !query.contains(*it) && text.contains(*it))?;
    Some(format!("{query}: `{marker}` in {text}"))
}

/// The shown cost is the answer's, else one could count what is hidden.
fn costs_what_it_shows(query: &str, reply: &Reply) -> Option<String> {
    let json: Value = serde_json::from_str(&reply.text).ok()?;
    let rows = json["rows"].as_u64()?;
    let read = json["statistics"]["rows_read"].as_u64()?.max(json["rows_before_limit_at_least"].as_u64().unwrap_or(0));
    let tables =
        ["orders", "states", "own", "found"].iter().any(|it| query.contains(it)) && !query.contains("RECURSIVE orders");
    (tables && read > rows).then(|| format!("{query}: {read} rows read for {rows}"))
}

/// What the head of a reply says was read is what the reply holds.
fn summary_is_of_the_answer(query: &str, told: &Told) -> Option<String> {
    let summary: Value = serde_json::from_str(told.header("x-clickhouse-summary")).ok()?;
    let number = |name: &str| summary[name].as_str()?.parse::<u64>().ok();
    let (read, rows) = (number("read_rows")?, number("result_rows")?);
    let tables = ["orders", "states"].iter().any(|it| query.contains(it)) && !query.contains("RECURSIVE orders");
    (tables && read > rows).then(|| format!("door: {query}: {summary}"))
}

#[tokio::test]
async fn what_the_engine_knows_of_hidden_rows_is_not_heard() {
    let (all, visible) = (site(true).await, site(false).await);
    let (filtered, plain) = (all.token("filtered", SCOPES).await, visible.token("plain", PLAIN).await);
    // What is kept of one caller's queries must not answer another's.
    for query in QUERIES.iter().filter(|it| it.contains("orders")) {
        all.sql(ADMIN, query).await;
    }
    let mut findings = Vec::new();
    let (mut answered, mut refused) = (0, 0);
    for query in QUERIES {
        let mut pairs = vec![("sql", all.sql(&filtered, query).await, visible.sql(&plain, query).await)];
        let raw = async |site: &Site, token: &str| {
            reply(site.request(Method::POST, "/v0/sql").bearer_auth(token).body((*query).to_owned())).await
        };
        pairs.push(("body", raw(&all, &filtered).await, raw(&visible, &plain).await));
        // The same over an endpoint, whose rows are called as the source is.
        let over = query.replace("orders", "_");
        let q = async |site: &Site, token: &str| {
            let asked = site.request(Method::GET, "/v0/pipes/own.json").query(&[("q", &over)]).bearer_auth(token);
            reply(asked).await
        };
        pairs.push(("q", q(&all, &filtered).await, q(&visible, &plain).await));
        let rendered = format!("%{}", query.trim_start_matches('%'));
        pairs.push(("template", all.sql(&filtered, &rendered).await, visible.sql(&plain, &rendered).await));
        let json = &[("default_format", "JSON")];
        let at_door = all.door(&filtered, query, json).await;
        findings.extend(summary_is_of_the_answer(query, &at_door));
        pairs.push(("door", at_door.into(), visible.door(&plain, query, json).await.into()));
        for (way, seen, wanted) in pairs {
            // What only one token may ask, because its sources are its own.
            let whole_alone =
                WHOLE_ALONE.iter().any(|it| query.contains(it)) && matches!(seen.status.as_u16(), 400 | 404);
            if said(&seen) != said(&wanted) && !whole_alone {
                let shown = |it: &Reply| said(it).map(|it| it["data"].to_string()).map_err(|_| it.text.clone());
                findings.push(format!("{way}: {query}:\n  {:?}\n  {:?}", shown(&seen), shown(&wanted)));
            }
            findings.extend(tells_nothing(query, &seen));
            findings.extend(costs_what_it_shows(query, &seen));
            if seen.status == 200 { answered += 1 } else { refused += 1 }
        }
    }
    println!("{} queries, {answered} answers, {refused} refusals", QUERIES.len());
    assert!(findings.is_empty(), "{} findings\n{}", findings.len(), findings.join("\n"));
    all.stop().await;
    visible.stop().await;
}

/// Columns that the engine has for a table; a filtered source is none.
const WHOLE_ALONE: &[&str] =
    &["_part", "_row_exists", "_block_", "_sample_factor", "_disk_name", "_distance", "_table"];
