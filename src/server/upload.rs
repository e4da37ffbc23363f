//! Files in a request: the parts of a multipart body, or the body itself.
//!
//! In: headers and bytes. Out: [`Part`]s. What is in the files is not known here.

use super::error::Fault;
use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Multipart, Request},
    http::{HeaderMap, header},
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// The name of the field.
    pub(super) field: String,
    pub(super) file_name: Option<String>,
    pub(super) bytes: Bytes,
}

pub(super) fn is_multipart(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or_default();
    kind.trim_start().to_ascii_lowercase().starts_with("multipart/form-data")
}

pub(super) async fn parts(headers: &HeaderMap, bytes: Bytes) -> Result<Vec<Part>, Fault> {
    let bad = |error: &dyn std::fmt::Display| Fault::BadBody(format!("as multipart/form-data: {error}"));
    let mut request = Request::new(Body::from(bytes));
    *request.headers_mut() = headers.clone();
    let mut multipart = Multipart::from_request(request, &()).await.map_err(|it| bad(&it.body_text()))?;
    let mut res = Vec::new();
    while let Some(field) = multipart.next_field().await.map_err(|it| bad(&it.body_text()))? {
        let name = field.name().unwrap_or_default().to_owned();
        let file_name = field.file_name().map(str::to_owned);
        let bytes = field.bytes().await.map_err(|it| bad(&it.body_text()))?;
        res.push(Part { field: name, file_name, bytes });
    }
    Ok(res)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(kind: &str) -> HeaderMap {
        let mut res = HeaderMap::new();
        res.insert(header::CONTENT_TYPE, kind.parse().unwrap());
        res
    }

    #[tokio::test]
    async fn parts_keep_paths_and_bytes() {
        let body = "--x\r\nContent-Disposition: form-data; name=\"data_project://\"; filename=\"datasources/a.datasource\"\r\n\
                    Content-Type: text/plain\r\n\r\nSCHEMA >\n  a Int8\r\n--x\r\n\
                    Content-Disposition: form-data; name=\"note\"\r\n\r\nhi\r\n--x--\r\n";
        let headers = headers("multipart/form-data; boundary=x");
        assert!(is_multipart(&headers));
        let parts = parts(&headers, Bytes::from(body)).await.unwrap();
        assert_eq!(parts[0].field, "data_project://");
        assert_eq!(parts[0].file_name.as_deref(), Some("datasources/a.datasource"));
        assert_eq!(parts[0].bytes, "SCHEMA >\n  a Int8");
        assert_eq!((parts[1].field.as_str(), &parts[1].file_name), ("note", &None));
    }

    #[tokio::test]
    async fn a_body_that_is_no_multipart_is_a_bad_body() {
        let res = parts(&headers("multipart/form-data; boundary=x"), Bytes::from("nothing")).await;
        assert!(matches!(res, Err(Fault::BadBody(_))));
    }
}
