//! Which functions a user's SQL may call: the engine's own lists, each name judged once.
//!
//! In: a name. Out: whether it is known to be harmless, known and refused, or unknown (which is refused too).
//! Refused is what reads files, the network, dictionaries, other tables by name, the server's own state or
//! the session's, what waits, and the engine's internals.

use std::{collections::HashSet, sync::LazyLock};

/// What is known of a function's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    Allowed,
    Denied,
    /// No function of the engine that was judged; it may be an alias of a lambda.
    Unknown,
}

/// Looks a function up as the engine may: in any case, aggregate functions with any combinators.
pub fn function(name: &str) -> Judged {
    let lower = name.to_ascii_lowercase();
    if ALLOWED_SET.contains(lower.as_str()) {
        return Judged::Allowed;
    }
    if DENIED_SET.contains(lower.as_str()) {
        return Judged::Denied;
    }
    let mut base = lower.as_str();
    while let Some(shorter) = COMBINATORS.iter().find_map(|it| base.strip_suffix(it)) {
        base = shorter;
        if ALLOWED_SET.contains(base) {
            return Judged::Allowed;
        }
        if DENIED_SET.contains(base) {
            return Judged::Denied;
        }
    }
    Judged::Unknown
}

/// Table functions that make rows out of nothing but their arguments.
pub(super) fn is_table_function(name: &str) -> bool {
    let allowed = [
        "numbers",
        "numbers_mt",
        "zeros",
        "zeros_mt",
        "values",
        "null",
        "generateRandom",
        "generateSeries",
        "generate_series",
    ];
    allowed.contains(&name)
}

/// Functions that take a function as an argument, by name too.
pub(super) fn is_higher_order(name: &str) -> bool {
    HIGHER_ORDER.split_ascii_whitespace().any(|it| it.eq_ignore_ascii_case(name))
}

/// Names of data types, which stand before brackets in casts.
pub(super) fn is_type(name: &str) -> bool {
    TYPES.split_ascii_whitespace().any(|it| it.eq_ignore_ascii_case(name))
}

static ALLOWED_SET: LazyLock<HashSet<&str>> = LazyLock::new(|| ALLOWED.split_ascii_whitespace().collect());
static DENIED_SET: LazyLock<HashSet<&str>> = LazyLock::new(|| DENIED.split_ascii_whitespace().collect());

/// Suffixes of aggregate functions, the longest first where one ends with another.
const COMBINATORS: &[&str] = &[
    "simplestate",
    "ordefault",
    "distinct",
    "resample",
    "foreach",
    "argmax",
    "argmin",
    "ornull",
    "tuple",
    "merge",
    "state",
    "array",
    "null",
    "map",
    "if",
];

const HIGHER_ORDER: &str = "
    arrayAll arrayAvg arrayBottomK arrayCompact arrayCount arrayCumSum arrayCumSumNonNegative arrayDifference
    arrayExists arrayFill arrayFilter arrayFirst arrayFirstIndex arrayFirstOrNull arrayFold arrayLast
    arrayLastIndex arrayLastOrNull arrayMap arrayMax arrayMin arrayPartialReverseSort arrayPartialSort
    arrayProduct arrayReverseFill arrayReverseSort arrayReverseSplit arraySort arraySplit arraySum arrayTopK
    mapAll mapApply mapExists mapFilter mapPartialReverseSort mapPartialSort mapReverseSort mapSort
";

const TYPES: &str = "
    AggregateFunction Array BFloat16 BIGINT BINARY BIT BLOB BYTE BYTEA Bool CHAR CHARACTER CLOB DEC DOUBLE
    Date Date32 DateTime DateTime32 DateTime64 Decimal Decimal128 Decimal256 Decimal32 Decimal64 Dynamic ENUM
    Enum Enum16 Enum8 FIXED FLOAT FixedString Float32 Float64 GEOMETRY Geometry INET4 INET6 INT INT1 INTEGER
    IPv4 IPv6 Int128 Int16 Int256 Int32 Int64 Int8 IntervalDay IntervalHour IntervalMicrosecond
    IntervalMillisecond IntervalMinute IntervalMonth IntervalNanosecond IntervalQuarter IntervalSecond
    IntervalWeek IntervalYear JSON LONGBLOB LONGTEXT LineString LowCardinality MEDIUMBLOB MEDIUMINT MEDIUMTEXT
    Map MultiLineString MultiPolygon NCHAR NUMERIC NVARCHAR Nested Nothing Nullable Point Polygon QBit REAL
    Ring SET SIGNED SINGLE SMALLINT SimpleAggregateFunction String TEXT TIMESTAMP TINYBLOB TINYINT TINYTEXT
    Time Time64 Tuple UInt128 UInt16 UInt256 UInt32 UInt64 UInt8 UNSIGNED UUID VARBINARY VARCHAR VARCHAR2
    Variant YEAR bool boolean
";

const DENIED: &str = "
    blocknumber blocksize dumpcolumnstructure estimatecompressionratio lowcardinalityindices lowcardinalitykeys
    rownumberinblock
    __actionname __applyfilter __bitboolmaskand __bitboolmaskor __bitswaplasttwo __bitwrapperfunc __getscalar
    __patchpartitionid __scalarsubqueryresult __toyearcalendaronly _cast addresstoline
    addresstolinewithinlines addresstosymbol aggthrow aiclassify aiembed aiextract aigenerate aitranslate
    authenticateduser authuser blockserializedsize buildid catboostevaluate connectionid current_database
    current_query_id current_schemas current_user currentdatabase currentprofiles currentqueryid currentroles
    currentschemas currentuser database defaultprofiles defaultroles demangle dictget dictgetall
    dictgetchildren dictgetdate dictgetdateordefault dictgetdatetime dictgetdatetimeordefault
    dictgetdescendants dictgetfloat32 dictgetfloat32ordefault dictgetfloat64 dictgetfloat64ordefault
    dictgethierarchy dictgetint16 dictgetint16ordefault dictgetint32 dictgetint32ordefault dictgetint64
    dictgetint64ordefault dictgetint8 dictgetint8ordefault dictgetipv4 dictgetipv4ordefault dictgetipv6
    dictgetipv6ordefault dictgetkeys dictgetordefault dictgetornull dictgetroot dictgetstring
    dictgetstringordefault dictgetuint16 dictgetuint16ordefault dictgetuint32 dictgetuint32ordefault
    dictgetuint64 dictgetuint64ordefault dictgetuint8 dictgetuint8ordefault dictgetuuid dictgetuuidordefault
    dicthas dictisin displayname enabledprofiles enabledroles errorcodetoname evalmlmethod file
    filesystemavailable filesystemcapacity filesystemunreserved flamegraph fqdn fullhostname fuzzquery
    generateserialid getclienthttpheader getmacro getmaxtablenamelengthfordatabase getmergetreesetting
    getoskernelversion getserverport getserversetting getsetting getsettingordefault globalvariable
    hascolumnintable hasthreadfuzzer hostname initial_query_id initial_query_start_time initialqueryid
    initialquerystarttime ismergetreepartcoveredby joinget joingetornull logtrace mergetreepartinfo
    naivebayesclassifier naivebayesclassifierwithallprobs naivebayesclassifierwithprob query_id queryid
    regionhierarchy regionin regiontoarea regiontocity regiontocontinent regiontocountry regiontodistrict
    regiontoname regiontopopulation regiontotopcontinent revision runningconcurrency schema serveruuid
    session_user shardcount shardnum showcertificate sleep sleepeachrow tcpport tid timeseriescopytag
    timeseriescopytags timeseriesextracttag timeseriesgrouptosamplingkey timeseriesgrouptotags
    timeseriesidtogroup timeseriesidtotags timeseriesidtotagsgroup timeseriesjointags
    timeseriesremovealltagsexcept timeseriesremovetag timeseriesremovetags timeseriesreplacetag
    timeseriesstoretags timeseriestagsgrouptotags timeseriestagstogroup transactionid
    transactionlatestsnapshot transactionoldestsnapshot uptime user version zookeepersessionuptime
";

const ALLOWED: &str = "
    abs accuratecast accuratecastordefault accuratecastornull acos acosh adddate adddays addhours addinterval
    addmicroseconds addmilliseconds addminutes addmonths addnanoseconds addquarters addseconds
    addtupleofintervals addweeks addyears aes_decrypt_mysql aes_encrypt_mysql age alphatokens
    analysisofvariance and anova any any_respect_nulls any_value any_value_respect_nulls anyheavy anylast
    anylast_respect_nulls anylastrespectnulls anyrespectnulls anyvaluerespectnulls appendtrailingcharifabsent
    approx_top_count approx_top_k approx_top_sum areacartesian areaspherical argandmax argandmin argmax argmin
    array array_agg array_concat_agg array_remove array_to_string arrayall arrayauc arrayaucpr
    arrayautocorrelation arrayavg arraybottomk arraycompact arrayconcat arraycount arraycumsum
    arraycumsumnonnegative arraydifference arraydistinct arraydotproduct arrayelement arrayelementornull
    arrayenumerate arrayenumeratedense arrayenumeratedenseranked arrayenumerateuniq arrayenumerateuniqranked
    arrayexcept arrayexists arrayfill arrayfilter arrayfirst arrayfirstindex arrayfirstornull arrayflatten
    arrayfold arrayintersect arrayjaccardindex arrayjoin arraylast arraylastindex arraylastornull
    arraylevenshteindistance arraylevenshteindistanceweighted arraymap arraymax arraymin arraynormalizedgini
    arraypartialreversesort arraypartialshuffle arraypartialsort arraypopback arraypopfront arrayprauc
    arrayproduct arraypushback arraypushfront arrayrandomsample arrayreduce arrayreduceinranges arrayremove
    arrayresize arrayreverse arrayreversefill arrayreversesort arrayreversesplit arrayrocauc arrayrotateleft
    arrayrotateright arrayshiftleft arrayshiftright arrayshingles arrayshuffle arraysimilarity arrayslice
    arraysort arraysplit arraystringconcat arraysum arraysymmetricdifference arraytopk arraytranspose
    arrayunion arrayuniq arraywithconstant arrayzip arrayzipunaligned ascii asin asinh assumenotnull atan
    atan2 atanh avg avg2 avgweighted bar base32decode base32encode base58decode base58encode base64decode
    base64encode base64urldecode base64urlencode basename bin bit_and bit_or bit_xor bitand bitcount
    bithammingdistance bitmapand bitmapandcardinality bitmapandnot bitmapandnotcardinality bitmapbuild
    bitmapcardinality bitmapcontains bitmaphasall bitmaphasany bitmapmax bitmapmin bitmapor
    bitmaporcardinality bitmapsubsetinrange bitmapsubsetlimit bitmaptoarray bitmaptransform bitmapxor
    bitmapxorcardinality bitmasktoarray bitmasktolist bitnot bitor bitpositionstoarray bitrotateleft
    bitrotateright bitshiftleft bitshiftright bitslice bittest bittestall bittestany bitxor
     boundingratio bytehammingdistance bytesize byteslice byteswap cardinality casefoldutf8
    casewithexpr casewithexpression casewithoutexpr casewithoutexpression cast categoricalinformationvalue
    cbrt ceil ceiling changeday changehour changeminute changemonth changesecond changeyear char char_length
    character_length chdb cityhash64 clamp coalesce coloroklabtosrgb coloroklchtosrgb colorsrgbtooklab
    colorsrgbtooklch columns comparesubstrings concat concat_ws concatassumeinjective concatwithseparator
    concatwithseparatorassumeinjective connection_id contingency conv convertcharset corr corrmatrix
    corrstable cos cosh cosinedistance cosinedistancetransposed cosinedistancetransposedquantized count
    countdigits countequal countmatches countmatchescaseinsensitive countsubstrings
    countsubstringscaseinsensitive countsubstringscaseinsensitiveutf8 covar_pop covar_samp covarpop
    covarpopmatrix covarpopstable covarsamp covarsampmatrix covarsampstable cramersv cramersvbiascorrected
    crc32 crc32ieee crc64 cume_dist curdate current_date current_timestamp cutfragment cutipv6 cutquerystring
    cutquerystringandfragment cuttofirstsignificantsubdomain cuttofirstsignificantsubdomaincustom
    cuttofirstsignificantsubdomaincustomrfc cuttofirstsignificantsubdomaincustomwithwww
    cuttofirstsignificantsubdomaincustomwithwwwrfc cuttofirstsignificantsubdomainrfc
    cuttofirstsignificantsubdomainwithwww cuttofirstsignificantsubdomainwithwwwrfc cuturlparameter cutwww
    dameraulevenshteindistance date date_add date_bin date_diff date_format date_sub date_trunc dateadd
    datediff datename datesub datetime64tosnowflakeid datetimetosnowflakeid datetimetouuidv7 datetrunc day
    dayofmonth dayofweek dayofyear decodehtmlcomponent decodeurlcomponent decodeurlformcomponent
    decodexmlcomponent decrypt defaultvalueofargumenttype defaultvalueoftypename degrees deltasum
    deltasumtimestamp dense_rank denserank dequantizeint8tobfloat16 digits distancecosine
    distancecosinetransposed distancel1 distancel2 distancel2squared distancel2transposed distancelinf
    distancelp distinctdynamictypes distinctjsonpaths distinctjsonpathsandtypes divide dividedecimal
    divideornull domain domainrfc domainwithoutwww domainwithoutwwwrfc dotproduct dotproducttransposed
    dotproducttransposedquantized dynamicelement dynamictype e editdistance
    editdistanceutf8 empty emptyarraydate emptyarraydatetime emptyarrayfloat32 emptyarrayfloat64
    emptyarrayint16 emptyarrayint32 emptyarrayint64 emptyarrayint8 emptyarraystring emptyarraytosingle
    emptyarrayuint16 emptyarrayuint32 emptyarrayuint64 emptyarrayuint8 encodeurlcomponent
    encodeurlformcomponent encodexmlcomponent encrypt endswith endswithcaseinsensitive
    endswithcaseinsensitiveutf8 endswithutf8 entropy equals erf erfc exists exp exp10
    exp2 exponentialmovingaverage exponentialtimedecayedavg exponentialtimedecayedcount
    exponentialtimedecayedmax exponentialtimedecayedsum extract extractall extractallgroups
    extractallgroupshorizontal extractallgroupsvertical extractgroups extractkeyvaluepairs
    extractkeyvaluepairswithescaping extracttextfromhtml extracturlparameter extracturlparameternames
    extracturlparameters factorial farmfingerprint64 farmhash64 finalizeaggregation
    financialinternalrateofreturn financialinternalrateofreturnextended financialnetpresentvalue
    financialnetpresentvalueextended first_value first_value_respect_nulls firstline firstnondefault
    firstsignificantsubdomain firstsignificantsubdomaincustom firstsignificantsubdomaincustomrfc
    firstsignificantsubdomainrfc firstvaluerespectnulls flatten flattentuple flipcoordinates floor format
    format_bytes formatdatetime formatdatetimeinjodasyntax formatquery formatqueryornull formatquerysingleline
    formatquerysinglelineornull formatreadabledecimalsize formatreadablequantity formatreadablesize
    formatreadabletimedelta formatrow formatrownonewline fragment from_base64 from_days from_unixtime
    from_utc_timestamp fromdayssinceyearzero fromdayssinceyearzero32 frommodifiedjulianday
    frommodifiedjuliandayornull fromunixtimestamp fromunixtimestamp64micro fromunixtimestamp64milli
    fromunixtimestamp64nano fromunixtimestamp64second fromunixtimestampinjodasyntax fromutctimestamp fuzzbits
    gccmurmurhash gcd generaterandomstructure generatesnowflakeid generateuuidv4 generateuuidv7 geodistance
    geohashdecode geohashencode geohashesinbox geometryintersectcartesian geometryintersectspherical geotoh3
    geotomgrs geotoutm getsizeofenumtype getsubcolumn gettypeserializationstreams globalin globalinignoreset
    globalnotin globalnotinignoreset globalnotnullin globalnotnullinignoreset globalnullin
    globalnullinignoreset greatcircleangle greatcircledistance greater greaterorequals greatest group_concat
    grouparray grouparrayinsertat grouparrayintersect grouparraylast grouparraymovingavg grouparraymovingsum
    grouparraysample grouparraysorted groupbitand groupbitmap groupbitmapand groupbitmapor groupbitmapxor
    groupbitor groupbitxor groupconcat groupformat grouping groupnumericindexedvector groupuniqarray
    h3cellaream2 h3cellarearads2 h3distance h3edgeangle h3edgelengthkm h3edgelengthm h3exactedgelengthkm
    h3exactedgelengthm h3exactedgelengthrads h3getbasecell h3getdestinationindexfromunidirectionaledge
    h3getfaces h3getindexesfromunidirectionaledge h3getoriginindexfromunidirectionaledge h3getpentagonindexes
    h3getres0indexes h3getresolution h3getunidirectionaledge h3getunidirectionaledgeboundary
    h3getunidirectionaledgesfromhexagon h3hexareakm2 h3hexaream2 h3hexring h3indexesareneighbors h3ispentagon
    h3isresclassiii h3isvalid h3kring h3line h3numhexagons h3pointdistkm h3pointdistm h3pointdistrads
    h3polygontocells h3polygontocellswithcontainment h3tocenterchild h3tochildren h3togeo h3togeoboundary
    h3toparent h3tostring h3unidirectionaledgeisvalid halfmd5 has hasall hasalltoken hasalltokens hasany
    hasanytoken hasanytokens hasphrase hassubsequence hassubsequencecaseinsensitive
    hassubsequencecaseinsensitiveutf8 hassubsequenceutf8 hassubstr hastoken hastokencaseinsensitive
    hastokencaseinsensitiveornull hastokenornull hex highlight highlightquery hilbertdecode hilbertencode
    histogram hivehash hmac hop hopend hopstart hour hypot icebergbucket iceberghash icebergtruncate identity
    if ifnotfinite ifnull ignore ilike in indexhint indexof indexofassumesorted inet6_aton inet6_ntoa
    inet_aton inet_ntoa inignoreset initcap initcaputf8 initializeaggregation instr intdiv intdivornull
    intdivorzero intervallengthsum intexp10 intexp2 inthash32 inthash64 ipv4cidrtorange ipv4numtostring
    ipv4numtostringclassc ipv4stringtonum ipv4stringtonumordefault ipv4stringtonumornull ipv4toipv6
    ipv6cidrtorange ipv6numtostring ipv6stringtonum ipv6stringtonumordefault ipv6stringtonumornull isascii
    isconstant isdecimaloverflow isdistinctfrom isdynamicelementinshareddata isfinite isinfinite
    isipaddressinrange isipv4string isipv6string isnan isnotdistinctfrom isnotnull isnull isnullable isprime
    isprobableprime isvalidascii isvalidjson isvalidutf8 iszeroornull jarosimilarity jarowinklersimilarity
    javahash javahashutf16le json_array_length json_exists json_query json_value jsonallpaths
    jsonallpathswithtypes jsonallvalues jsonarraylength jsondynamicpaths jsondynamicpathswithtypes jsonextract
    jsonextractarrayraw jsonextractarrayrawcaseinsensitive jsonextractbool jsonextractboolcaseinsensitive
    jsonextractcaseinsensitive jsonextractfloat jsonextractfloatcaseinsensitive jsonextractint
    jsonextractintcaseinsensitive jsonextractkeys jsonextractkeysandvalues
    jsonextractkeysandvaluescaseinsensitive jsonextractkeysandvaluesraw
    jsonextractkeysandvaluesrawcaseinsensitive jsonextractkeyscaseinsensitive jsonextractraw
    jsonextractrawcaseinsensitive jsonextractstring jsonextractstringcaseinsensitive jsonextractuint
    jsonextractuintcaseinsensitive jsonhas jsonkey jsonlength jsonmergepatch jsonshareddatapaths
    jsonshareddatapathswithtypes jsontype jumpconsistenthash kafkamurmurhash keccak256 kolmogorovsmirnovtest
    kostikconsistenthash kurtpop kurtsamp l1distance l1norm l1normalize l2distance l2distancetransposed
    l2distancetransposedquantized l2norm l2normalize l2squareddistance l2squarednorm lag laginframe
    largesttrianglethreebuckets last_day last_value last_value_respect_nulls lastvaluerespectnulls lcase lcm
    lead leadinframe least left leftpad leftpadutf8 leftutf8 length lengthutf8 less lessorequals
    levenshteindistance levenshteindistanceutf8 lgamma like linfdistance linfnorm linfnormalize ln localtime
    localtimestamp locate log log10 log1p log2 lower lowerutf8 lpad
    lpdistance lpnorm lpnormalize ltrim lttb macnumtostring macstringtonum macstringtooui makedate makedate32
    makedatetime makedatetime64 mannwhitneyutest map map_from_arrays mapadd mapall mapapply mapconcat
    mapcontains mapcontainskey mapcontainskeylike mapcontainsvalue mapcontainsvaluelike mapexists
    mapextractkeylike mapextractvaluelike mapfilter mapfromarrays mapfromstring mapkeys mappartialreversesort
    mappartialsort mappopulateseries mapreversesort mapsort mapsubtract mapupdate mapvalues match matchphrase
    materialize max max2 max_by maxintersections maxintersectionsposition maxmappedarrays md4 md5 meanztest
    median medianbfloat16 medianbfloat16weighted mediandd mediandeterministic medianexact medianexacthigh
    medianexactlow medianexactweighted medianexactweightedinterpolated mediangk medianinterpolatedweighted
    mediantdigest mediantdigestweighted mediantiming mediantimingweighted metrohash64 mgrstogeo microsecond
    mid midpoint millisecond min min2 min_by minmappedarrays minsamplesizecontinous minsamplesizecontinuous
    minsamplesizeconversion minus minute mismatches mod modornull modulo modulolegacy moduloornull
    moduloorzero month monthname mortondecode mortonencode multifuzzymatchallindices multifuzzymatchany
    multifuzzymatchanyindex multiif multimatchallindices multimatchany multimatchanyindex multiply
    multiplydecimal multisearchallpositions multisearchallpositionscaseinsensitive
    multisearchallpositionscaseinsensitiveutf8 multisearchallpositionsutf8 multisearchany
    multisearchanycaseinsensitive multisearchanycaseinsensitiveutf8 multisearchanyutf8 multisearchfirstindex
    multisearchfirstindexcaseinsensitive multisearchfirstindexcaseinsensitiveutf8 multisearchfirstindexutf8
    multisearchfirstposition multisearchfirstpositioncaseinsensitive
    multisearchfirstpositioncaseinsensitiveutf8 multisearchfirstpositionutf8 murmurhash2_32 murmurhash2_64
    murmurhash3_128 murmurhash3_32 murmurhash3_64 mvtboundingbox mvtboundingboxmercator mvtencode
    mvtencodegeom naivebayesngrams nanosecond natural_sort_key naturalsortkey negate neighbor nested netloc
    ngramdistance ngramdistancecaseinsensitive ngramdistancecaseinsensitiveutf8 ngramdistanceutf8 ngramminhash
    ngramminhasharg ngramminhashargcaseinsensitive ngramminhashargcaseinsensitiveutf8 ngramminhashargutf8
    ngramminhashcaseinsensitive ngramminhashcaseinsensitiveutf8 ngramminhashutf8 ngrams ngramsearch
    ngramsearchcaseinsensitive ngramsearchcaseinsensitiveutf8 ngramsearchutf8 ngramsimhash
    ngramsimhashcaseinsensitive ngramsimhashcaseinsensitiveutf8 ngramsimhashutf8 nonnegativederivative
    normalizedqueryhash normalizedqueryhashkeepnames normalizel1 normalizel2 normalizelinf normalizelp
    normalizequery normalizequerykeepnames normalizeutf8nfc normalizeutf8nfd normalizeutf8nfkc
    normalizeutf8nfkccasefold normalizeutf8nfkd norml1 norml2 norml2squared normlinf normlp not notempty
    notequals nothing nothingnull nothinguint64 notilike notin notinignoreset notlike notnullin
    notnullinignoreset now now64 nowinblock nowinblock64 nth_value ntile nullif nullin nullinignoreset
    numericindexedvectorallvaluesum numericindexedvectorbuild numericindexedvectorcardinality
    numericindexedvectorgetvalue numericindexedvectorpointwiseadd numericindexedvectorpointwisedivide
    numericindexedvectorpointwiseequal numericindexedvectorpointwisegreater
    numericindexedvectorpointwisegreaterequal numericindexedvectorpointwiseless
    numericindexedvectorpointwiselessequal numericindexedvectorpointwisemultiply
    numericindexedvectorpointwisenotequal numericindexedvectorpointwisesubtract
    numericindexedvectorshortdebugstring numericindexedvectortomap obfuscatequery obfuscatequerywithseed
    octet_length or overlay overlayutf8 parsedatetime parsedatetime32besteffort
    parsedatetime32besteffortornull parsedatetime32besteffortorzero parsedatetime64 parsedatetime64besteffort
    parsedatetime64besteffortornull parsedatetime64besteffortorzero parsedatetime64besteffortus
    parsedatetime64besteffortusornull parsedatetime64besteffortusorzero parsedatetime64injodasyntax
    parsedatetime64injodasyntaxornull parsedatetime64injodasyntaxorzero parsedatetime64ornull
    parsedatetime64orzero parsedatetimebesteffort parsedatetimebesteffortornull parsedatetimebesteffortorzero
    parsedatetimebesteffortus parsedatetimebesteffortusornull parsedatetimebesteffortusorzero
    parsedatetimeinjodasyntax parsedatetimeinjodasyntaxornull parsedatetimeinjodasyntaxorzero
    parsedatetimeornull parsedatetimeorzero parsereadablesize parsereadablesizeornull parsereadablesizeorzero
    parsetimedelta partitionid path pathfull percent_rank percentrank perimetercartesian perimeterspherical pi
    plus pmod pmodornull pointinellipses pointinpolygon polygonareacartesian polygonareaspherical
    polygonconvexhullcartesian polygonperimetercartesian polygonperimeterspherical polygonsdistancecartesian
    polygonsdistancespherical polygonsequalscartesian polygonsintersectcartesian polygonsintersectioncartesian
    polygonsintersectionspherical polygonsintersectspherical polygonssymdifferencecartesian
    polygonssymdifferencespherical polygonsunioncartesian polygonsunionspherical polygonswithincartesian
    polygonswithinspherical port portrfc position positioncaseinsensitive positioncaseinsensitiveutf8
    positionutf8 positive_modulo positive_modulo_or_null positivemodulo positivemoduloornull pow power
    prettyprintjson printf proportionsztest protocol quantile quantilebfloat16 quantilebfloat16weighted
    quantiledd quantiledeterministic quantileexact quantileexactexclusive quantileexacthigh
    quantileexactinclusive quantileexactlow quantileexactweighted quantileexactweightedinterpolated quantilegk
    quantileinterpolatedweighted quantileprometheushistogram quantiles quantilesbfloat16
    quantilesbfloat16weighted quantilesdd quantilesdeterministic quantilesexact quantilesexactexclusive
    quantilesexacthigh quantilesexactinclusive quantilesexactlow quantilesexactweighted
    quantilesexactweightedinterpolated quantilesgk quantilesinterpolatedweighted quantilesprometheushistogram
    quantilestdigest quantilestdigestweighted quantilestiming quantilestimingweighted quantiletdigest
    quantiletdigestweighted quantiletiming quantiletimingweighted quantizebfloat16toint8 quarter querystring
    querystringandfragment radians rand rand32 rand64 randbernoulli randbinomial randcanonical randchisquared
    randconstant randexponential randfisherf randlognormal randnegativebinomial randnormal randomfixedstring
    randomhadamardtransform randomprintableascii randomstring randomstringutf8 randpoisson randstudentt
    randuniform range rank rankcorr readwkb readwkblinestring readwkbmultilinestring readwkbmultipolygon
    readwkbpoint readwkbpolygon readwkt readwktlinestring readwktmultilinestring readwktmultipolygon
    readwktpoint readwktpolygon readwktring regexp_extract regexp_instr regexp_matches regexp_replace
    regexp_substr regexpextract regexpinstr regexpposition regexpquotemeta reinterpret reinterpretasdate
    reinterpretasdatetime reinterpretasfixedstring reinterpretasfloat32 reinterpretasfloat64
    reinterpretasint128 reinterpretasint16 reinterpretasint256 reinterpretasint32 reinterpretasint64
    reinterpretasint8 reinterpretasstring reinterpretasuint128 reinterpretasuint16 reinterpretasuint256
    reinterpretasuint32 reinterpretasuint64 reinterpretasuint8 reinterpretasuuid removeaccentsutf8
    removediacriticsutf8 repeat replace replaceall replaceone replaceregexpall replaceregexpone replicate
    retention reverse reversebyseparator reverseutf8 right rightpad rightpadutf8 rightutf8 ripemd160 round
    roundage roundbankers rounddown roundduration roundtoexp2 row_number rownumberinallblocks
    rpad rtrim runningaccumulate runningdifference runningdifferencestartingwithfirstvalue scalarproduct
    scalarproducttransposed second sequencecount sequencematch sequencematchevents sequencenextnode
    seriesdecomposestl seriesoutliersdetecttukey servertimezone sha1 sha224 sha256 sha384 sha512 sha512_256
    sigmoid sign simplejsonextractbool simplejsonextractfloat simplejsonextractint simplejsonextractraw
    simplejsonextractstring simplejsonextractuint simplejsonhas simplelinearregression sin singlevalueornull
    sinh siphash128 siphash128keyed siphash128reference siphash128referencekeyed siphash64 siphash64keyed
    skewpop skewsamp snowflakeidtodatetime snowflakeidtodatetime64 soundex space sparkbar sparsegrams
    sparsegramshashes sparsegramshashesutf8 sparsegramsutf8 splitbyalpha splitbychar splitbynonalpha
    splitbyregexp splitbystring splitbywhitespace sqid sqiddecode sqidencode sqr sqrt st_asmvt st_asmvtgeom
    st_linefromwkb st_mlinefromwkb st_mpolyfromwkb st_pointfromwkb st_polyfromwkb startswith
    startswithcaseinsensitive startswithcaseinsensitiveutf8 startswithutf8 std stddev stddev_pop stddev_samp
    stddevpop stddevpopstable stddevsamp stddevsampstable stochasticlinearregression
    stochasticlogisticregression str_to_date str_to_map string_agg stringbytesentropy stringbytesuniq
    stringjaccardindex stringjaccardindexutf8 stringtoh3 structuretocapnprotoschema structuretoprotobufschema
    studentttest studentttestonesample subbitmap subdate substr substring substring_index substringindex
    substringindexutf8 substringutf8 subtractdays subtracthours subtractinterval subtractmicroseconds
    subtractmilliseconds subtractminutes subtractmonths subtractnanoseconds subtractquarters subtractseconds
    subtracttupleofintervals subtractweeks subtractyears sum sumcount sumkahan summapfiltered
    summapfilteredwithoverflow summappedarrays summapwithoverflow sumwithoverflow svg tan tanh tgamma theilsu
    throwif time_bucket timediff timeserieschangestogrid timeseriesdeltatogrid timeseriesderivtogrid
    timeseriesfromgrid timeseriesgrouparray timeseriesincreasetogrid timeseriesinstantdeltatogrid
    timeseriesinstantratetogrid timeserieslasttogrid timeserieslasttwosamples timeseriespredictlineartogrid
    timeseriesrange timeseriesratetogrid timeseriesresampletogridwithstaleness timeseriesresetstogrid
    timeseriesthrowduplicateseriesif timeslot timeslots timestamp timestamp_add timestamp_diff timestamp_sub
    timestampadd timestampdiff timestampsub timezone timezoneof timezoneoffset to_base64 to_days to_unixtime
    to_utc_timestamp tobfloat16 tobfloat16ornull tobfloat16orzero tobool tocolumntypename todate todate32
    todate32ordefault todate32ornull todate32orzero todateordefault todateornull todateorzero todatetime
    todatetime32 todatetime64 todatetime64ordefault todatetime64ornull todatetime64orzero todatetimeordefault
    todatetimeornull todatetimeorzero today todayofmonth todayofweek todayofyear todaysinmonth
    todayssinceyearzero todecimal128 todecimal128ordefault todecimal128ornull todecimal128orzero todecimal256
    todecimal256ordefault todecimal256ornull todecimal256orzero todecimal32 todecimal32ordefault
    todecimal32ornull todecimal32orzero todecimal64 todecimal64ordefault todecimal64ornull todecimal64orzero
    todecimalstring tofixedstring tofloat32 tofloat32ordefault tofloat32ornull tofloat32orzero tofloat64
    tofloat64ordefault tofloat64ornull tofloat64orzero tohour toint128 toint128ordefault toint128ornull
    toint128orzero toint16 toint16ordefault toint16ornull toint16orzero toint256 toint256ordefault
    toint256ornull toint256orzero toint32 toint32ordefault toint32ornull toint32orzero toint64
    toint64ordefault toint64ornull toint64orzero toint8 toint8ordefault toint8ornull toint8orzero tointerval
    tointervalday tointervalhour tointervalmicrosecond tointervalmillisecond tointervalminute tointervalmonth
    tointervalnanosecond tointervalquarter tointervalsecond tointervalweek tointervalyear toipv4
    toipv4ordefault toipv4ornull toipv4orzero toipv6 toipv6ordefault toipv6ornull toipv6orzero toisoweek
    toisoyear tojsonstring tokenizequery tokens tokensforlikepattern tolastdayofmonth tolastdayofweek
    tolowcardinality tomicrosecond tomillisecond tominute tomodifiedjulianday tomodifiedjuliandayornull
    tomonday tomonth tomonthnumsinceepoch tonanosecond tonullable topk topkweighted topleveldomain
    topleveldomainrfc toquarter torelativedaynum torelativehournum torelativeminutenum torelativemonthnum
    torelativequarternum torelativesecondnum torelativeweeknum torelativeyearnum tosecond tostartofday
    tostartoffifteenminutes tostartoffiveminute tostartoffiveminutes tostartofhour tostartofinterval
    tostartofisoyear tostartofmicrosecond tostartofmillisecond tostartofminute tostartofmonth
    tostartofnanosecond tostartofquarter tostartofsecond tostartoftenminutes tostartofweek tostartofyear
    tostring tostringcuttozero totime totime64 totime64ornull totime64orzero totimeornull totimeorzero
    totimewithfixeddate totimezone totypename touint128 touint128ordefault touint128ornull touint128orzero
    touint16 touint16ordefault touint16ornull touint16orzero touint256 touint256ordefault touint256ornull
    touint256orzero touint32 touint32ordefault touint32ornull touint32orzero touint64 touint64ordefault
    touint64ornull touint64orzero touint8 touint8ordefault touint8ornull touint8orzero tounixtimestamp
    tounixtimestamp64micro tounixtimestamp64milli tounixtimestamp64nano tounixtimestamp64second toutctimestamp
    touuid touuidordefault touuidornull touuidorzero tovalidutf8 toweek toyear toyearnumsinceepoch toyearweek
    toyyyymm toyyyymmdd toyyyymmddhhmmss transform translate translateutf8 trim trimboth trimleft trimright
    trunc truncate try_cast trybase32decode trybase58decode trybase64decode trybase64urldecode trydecrypt
    tumble tumbleend tumblestart tuple tupleconcat tupledivide tupledividebynumber tupleelement
    tuplehammingdistance tupleintdiv tupleintdivbynumber tupleintdivorzero tupleintdivorzerobynumber
    tupleminus tuplemodulo tuplemodulobynumber tuplemultiply tuplemultiplybynumber tuplenames tuplenegate
    tupleplus tuplepositivemodulobynumber tupletonamevaluepairs ucase unbin unhex uniq uniqcombined
    uniqcombined64 uniqexact uniqhll12 uniqupto unnest upper upperutf8 urlhash urlhierarchy urlpathhierarchy
    utc_timestamp utctimestamp utmtogeo uuidnumtostring uuidstringtonum uuidtonum uuidv7todatetime
    validatenestedarraysizes var_pop var_samp variantelement varianttype varpop varpopstable varsamp
    varsampstable vectordifference vectorsum visiblewidth visitparamextractbool visitparamextractfloat
    visitparamextractint visitparamextractraw visitparamextractstring visitparamextractuint visitparamhas week
    welchttest width_bucket widthbucket windowfunnel windowid wkb wkt wordshingleminhash wordshingleminhasharg
    wordshingleminhashargcaseinsensitive wordshingleminhashargcaseinsensitiveutf8 wordshingleminhashargutf8
    wordshingleminhashcaseinsensitive wordshingleminhashcaseinsensitiveutf8 wordshingleminhashutf8
    wordshinglesimhash wordshinglesimhashcaseinsensitive wordshinglesimhashcaseinsensitiveutf8
    wordshinglesimhashutf8 wyhash64 xor xxh3 xxh3_128 xxhash32 xxhash64 xxhash64spark yandexconsistenthash
    year yearweek yesterday yyyymmddhhmmsstodatetime yyyymmddhhmmsstodatetime64 yyyymmddtodate
    yyyymmddtodate32
";
