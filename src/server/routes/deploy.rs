//! `POST /v1/deploy`: a whole project, or with `partial=true` a part of one, becomes the deployed one.
//!
//! One part `data_project://` per file, its file name the path in the project. Our own parameters: `check=true`
//! makes the plan and nothing else, `partial=true` leaves absent files alone, `hold_consumers=true` keeps
//! Kafka consumers from starting until `POST /v1/consumers/release` says that the fixtures are in, `share=true` carries
//! out SHARED_WITH lines with the workspaces that an administrator's token opens. The reply
//! carries the plan and all diagnostics beside what other clients of this call read.

use super::{Context, identity};
use crate::{
    app::{DeployOptions, DeployReport},
    diagnostic::{self, Diagnostic, Place, Severity},
    plan::{Action, Change, Step},
    server::{
        entry::RequestId,
        error::{ApiError, Fault},
        extract::Who,
        params::Fields,
        upload,
    },
};
use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Uri},
};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[derive(Serialize)]
pub(super) struct DeployWire {
    /// `success`, `no_changes` or `failed`.
    result: &'static str,
    deployment: Deployment,
    plan: Vec<StepWire>,
    diagnostics: Vec<DiagnosticWire>,
    request_id: String,
}

#[derive(Serialize, Default)]
struct Deployment {
    id: String,
    status: &'static str,
    live: bool,
    created_at: String,
    updated_at: String,
    #[serde(flatten)]
    changes: Changes,
    disconnected_data_source_names: [(); 0],
    token_changes: Vec<TokenChange>,
    data_movements: [(); 0],
    feedback: Vec<Feedback>,
    errors: Vec<ErrorWire>,
}

/// Sets, so that a name whose table and columns both change stands once.
#[derive(Serialize, Default)]
struct Changes {
    new_datasource_names: BTreeSet<String>,
    changed_datasource_names: BTreeSet<String>,
    deleted_datasource_names: BTreeSet<String>,
    new_pipe_names: BTreeSet<String>,
    changed_pipe_names: BTreeSet<String>,
    deleted_pipe_names: BTreeSet<String>,
    new_data_connector_names: BTreeSet<String>,
    changed_data_connector_names: BTreeSet<String>,
    deleted_data_connector_names: BTreeSet<String>,
}

#[derive(Serialize)]
struct TokenChange {
    token_name: String,
    change_type: &'static str,
    permission_changes: PermissionChanges,
}

#[derive(Serialize)]
struct PermissionChanges {
    added_permissions: [PermissionWire; 1],
    removed_permissions: [(); 0],
}

#[derive(Serialize)]
struct PermissionWire {
    resource_name: String,
    resource_type: &'static str,
    permission: String,
}

#[derive(Serialize)]
struct Feedback {
    resource: Option<String>,
    level: &'static str,
    message: String,
}

#[derive(Serialize)]
struct ErrorWire {
    #[serde(skip_serializing_if = "Option::is_none")]
    filename: Option<String>,
    error: String,
}

#[derive(Serialize)]
struct StepWire {
    /// `+` comes, `~` changes, `-` goes, `!` is refused.
    kind: String,
    text: String,
    path: String,
    line: Option<usize>,
}

#[derive(Serialize)]
struct DiagnosticWire {
    severity: &'static str,
    code: &'static str,
    message: String,
    path: Option<String>,
    line: Option<usize>,
    column: Option<usize>,
    end_line: Option<usize>,
    end_column: Option<usize>,
    hint: Option<String>,
    related: Vec<RelatedWire>,
}

#[derive(Serialize)]
struct RelatedWire {
    message: String,
    path: String,
    line: Option<usize>,
    column: Option<usize>,
}

/// What the fields of a file's part are called.
const FILE: &str = "data_project://";

/// The same from HTTP libraries that encode the names in a form; then the path is encoded too.
const ENCODED_FILE: &str = "data_project:%2F%2F";

/// Some clients say in such a part which version they have.
const CONTEXT: &str = "context:";

pub(super) async fn deploy(
    State(context): State<Context>,
    request_id: RequestId,
    who: Who,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<DeployWire>, ApiError> {
    if !who.access.may_deploy() {
        return Err(Fault::Forbidden.into());
    }
    let fields = Fields::of_query(uri.query());
    let options = DeployOptions {
        check: fields.flag("check"),
        partial: fields.flag("partial"),
        hold_consumers: fields.flag("hold_consumers"),
        ..DeployOptions::default()
    };
    let files = files(&headers, body, of_project).await?;
    let check = options.check;
    let report = match fields.flag("share") {
        false => who.workspace.deploy(files, options).await?,
        true => {
            let seen = if who.access.is_admin() { identity::seen(&context, &who) } else { Vec::new() };
            let reach: Vec<_> = seen.into_iter().map(|(workspace, _)| workspace).collect();
            context.app.deploy_and_share(&who.workspace, files, options, &reach).await?
        }
    };
    Ok(Json(wire(&report, check, &request_id)))
}

/// The client's fixtures are in.
pub(super) async fn release_consumers(who: Who) -> Result<Json<Value>, ApiError> {
    if !who.access.may_deploy() {
        return Err(Fault::Forbidden.into());
    }
    who.workspace.release_consumers().await?;
    Ok(Json(json!({ "ok": true })))
}

/// The files of a multipart body. `path` says where in the project a part's file is, if it is one.
pub(super) async fn files(
    headers: &HeaderMap,
    body: Bytes,
    path: impl Fn(&upload::Part) -> Result<Option<String>, Fault>,
) -> Result<Vec<diagnostic::Source>, Fault> {
    if !upload::is_multipart(headers) {
        return Err(Fault::BadBody("the files come as multipart/form-data, one part per file".into()));
    }
    let mut res: Vec<diagnostic::Source> = Vec::new();
    for part in upload::parts(headers, body).await? {
        let Some(path) = path(&part)? else { continue };
        if res.iter().any(|it| *it.path == *path) {
            return Err(Fault::BadBody(format!("the file `{path}` stands twice")));
        }
        let text = std::str::from_utf8(&part.bytes).map_err(|_| Fault::BadBody(format!("`{path}` is not UTF-8")))?;
        res.push(diagnostic::Source::new(path, text));
    }
    Ok(res)
}

/// The file of a part of a project, unless it is one that says which version a client has.
fn of_project(part: &upload::Part) -> Result<Option<String>, Fault> {
    let path = part.file_name.as_deref().unwrap_or_default();
    match part.field.as_str() {
        FILE => project_path(path).map(Some),
        ENCODED_FILE => project_path(&percent_decode_str(path).decode_utf8_lossy()).map(Some),
        field if field.starts_with(CONTEXT) => Ok(None),
        field => {
            let field = field.escape_default();
            Err(Fault::BadBody(format!("the part `{field}` is not known: files are called `{FILE}`")))
        }
    }
}

/// A path inside the project, with `/` between its parts, whoever sends it.
pub(super) fn project_path(path: &str) -> Result<String, Fault> {
    let path = path.replace('\\', "/");
    let path = path.strip_prefix("./").unwrap_or(&path);
    let outside = path.is_empty() || path.starts_with('/') || path.split('/').any(|it| matches!(it, "" | "." | ".."));
    if outside || path.chars().any(char::is_control) {
        return Err(Fault::BadBody(format!("`{}` is no path in a project", path.escape_default())));
    }
    Ok(path.to_owned())
}

pub(super) fn wire(report: &DeployReport, check: bool, request_id: &RequestId) -> DeployWire {
    let failed = diagnostic::has_errors(&report.diagnostics);
    let result = match (failed, report.plan.is_empty()) {
        (true, _) => "failed",
        (false, true) => "no_changes",
        (false, false) => "success",
    };
    let now = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S.%6f").to_string();
    let mut deployment = Deployment {
        id: "1".to_owned(),
        status: if failed { "failed" } else { "data_ready" },
        live: !failed && !check,
        created_at: now.clone(),
        updated_at: now,
        ..Deployment::default()
    };
    for step in &report.plan.steps {
        note(&mut deployment, step);
    }
    let diagnostics: Vec<_> = report.diagnostics.iter().map(|it| diagnostic_wire(report, it)).collect();
    for (diagnostic, wire) in report.diagnostics.iter().zip(&diagnostics) {
        match diagnostic.severity {
            Severity::Error => deployment.errors.push(ErrorWire {
                filename: wire.path.clone(),
                error: match wire.line {
                    Some(line) => format!("line {line}: {}", with_hint(diagnostic)),
                    None => with_hint(diagnostic),
                },
            }),
            Severity::Warning => deployment.feedback.push(Feedback {
                resource: wire.path.as_deref().and_then(resource_of),
                level: "WARNING",
                message: with_hint(diagnostic),
            }),
        }
    }
    let plan = report.plan.steps.iter().map(|step| StepWire {
        kind: step.sign().to_string(),
        text: step.to_string(),
        path: step.place.path.to_string(),
        line: position(report, &step.place).map(|(start, _)| start.line),
    });
    DeployWire { result, plan: plan.collect(), deployment, diagnostics, request_id: request_id.0.to_string() }
}

/// Puts a step's names where clients look for them.
fn note(deployment: &mut Deployment, step: &Step) {
    let changes = &mut deployment.changes;
    let (names, name) = match &step.action {
        Action::CreateTable { datasource } => (&mut changes.new_datasource_names, datasource.name.to_string()),
        Action::AddColumn { datasource, .. } | Action::ChangeDatasource { datasource, .. } => {
            (&mut changes.changed_datasource_names, datasource.name.to_string())
        }
        Action::CreateView { pipe, .. } | Action::CreatePipe { pipe } => {
            (&mut changes.new_pipe_names, pipe.name.to_string())
        }
        Action::ChangeView { pipe, .. } | Action::ChangePipe { pipe } => {
            (&mut changes.changed_pipe_names, pipe.name.to_string())
        }
        Action::DropTable { datasource } => (&mut changes.deleted_datasource_names, datasource.name.to_string()),
        Action::DropView { pipe } | Action::DropPipe { pipe } => {
            (&mut changes.deleted_pipe_names, pipe.name.to_string())
        }
        Action::ChangeConnection { name, change } => {
            let names = match change {
                Change::Created => &mut changes.new_data_connector_names,
                Change::Changed => &mut changes.changed_data_connector_names,
                Change::Dropped => &mut changes.deleted_data_connector_names,
            };
            (names, name.to_string())
        }
        Action::Describe { .. } | Action::Share { .. } | Action::Unshare { .. } | Action::Refused { .. } => return,
        Action::GrantToken { token, scope } => {
            let kind = scope.kind.name();
            let (resource, permission) = kind.split_once(':').unwrap_or(("", kind));
            deployment.token_changes.push(TokenChange {
                token_name: token.clone(),
                change_type: "changed",
                permission_changes: PermissionChanges {
                    added_permissions: [PermissionWire {
                        resource_name: scope.resource.clone().unwrap_or_default(),
                        resource_type: if resource == "PIPES" { "pipe" } else { "datasource" },
                        permission: permission.to_owned(),
                    }],
                    removed_permissions: [],
                },
            });
            return;
        }
    };
    names.insert(name);
}

fn diagnostic_wire(report: &DeployReport, diagnostic: &Diagnostic) -> DiagnosticWire {
    let position_of = |place: &Place| position(report, place);
    let (start, end) = diagnostic.place.as_ref().and_then(position_of).unzip();
    DiagnosticWire {
        severity: match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        code: diagnostic.code,
        message: diagnostic.message.clone(),
        path: diagnostic.place.as_ref().map(|it| it.path.to_string()),
        line: start.map(|it| it.line),
        column: start.map(|it| it.column),
        end_line: end.map(|it| it.line),
        end_column: end.map(|it| it.column),
        hint: diagnostic.hint.clone(),
        related: diagnostic
            .related
            .iter()
            .map(|(place, message)| {
                let start = position_of(place).map(|it| it.0);
                RelatedWire {
                    message: message.clone(),
                    path: place.path.to_string(),
                    line: start.map(|it| it.line),
                    column: start.map(|it| it.column),
                }
            })
            .collect(),
    }
}

fn position(report: &DeployReport, place: &Place) -> Option<(diagnostic::LineColumn, diagnostic::LineColumn)> {
    let source = report.sources.iter().find(|it| it.path == place.path)?;
    Some((source.line_column(place.span.start), source.line_column(place.span.end)))
}

fn with_hint(diagnostic: &Diagnostic) -> String {
    match &diagnostic.hint {
        Some(hint) => format!("{} ({hint})", diagnostic.message),
        None => diagnostic.message.clone(),
    }
}

/// `pipes/x.pipe` is about `x`.
fn resource_of(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    file.split('.').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_in_the_project() {
        assert_eq!(project_path("./datasources/a.datasource").unwrap(), "datasources/a.datasource");
        assert_eq!(project_path("pipes\\p.pipe").unwrap(), "pipes/p.pipe");
        for path in ["", "/etc/passwd", "../a.pipe", "a/../b.pipe", "a//b.pipe", "a\nb.pipe", "./"] {
            assert!(project_path(path).is_err(), "{path:?}");
        }
    }

    #[tokio::test]
    async fn files_are_known_by_their_parts() {
        let read = async |parts: &[(&str, &str)]| {
            let part = |(field, path): &(&str, &str)| {
                format!("--x\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{path}\"\r\n\r\nhi\r\n")
            };
            let body: String = parts.iter().map(part).chain(["--x--\r\n".to_owned()]).collect();
            let mut headers = HeaderMap::new();
            headers.insert("content-type", "multipart/form-data; boundary=x".parse().unwrap());
            let files = files(&headers, body.into(), of_project).await?;
            Ok::<_, Fault>(files.iter().map(|it| it.path.to_string()).collect::<Vec<_>>())
        };
        let plain = [("data_project://", "pipes/a.pipe"), ("context://", "cli-version")];
        assert_eq!(read(&plain).await.unwrap(), ["pipes/a.pipe"]);
        assert_eq!(read(&[("data_project:%2F%2F", "pipes%2Fa.pipe")]).await.unwrap(), ["pipes/a.pipe"]);
        assert!(read(&[("file", "pipes/a.pipe")]).await.is_err());
        assert!(read(&[("data_project://", "a.pipe"), ("data_project://", "./a.pipe")]).await.is_err());
        assert!(read(&[("data_project:%2F%2F", "%2E%2E%2Fa.pipe")]).await.is_err());
    }

    #[test]
    fn a_report_names_file_line_and_column() {
        let source = diagnostic::Source::new("pipes/p.pipe", "NODE n\nSQL >\n    select x\n");
        let span = diagnostic::Span::new(source.text.find('x').unwrap(), source.text.find('x').unwrap() + 1);
        let report = DeployReport {
            diagnostics: vec![
                Diagnostic::error("unknown_column", "there is no column `x`")
                    .at(source.place(span))
                    .hint("did you mean `y`?"),
                Diagnostic::warning("odd", "odd").at(source.place(span)),
            ],
            sources: vec![source],
            ..DeployReport::default()
        };
        let wire = json!(wire(&report, false, &RequestId("id".into())));
        assert_eq!(wire["result"], "failed");
        assert_eq!(wire["deployment"]["live"], false);
        assert_eq!(
            wire["deployment"]["errors"],
            json!([{
                "filename": "pipes/p.pipe", "error": "line 3: there is no column `x` (did you mean `y`?)",
            }])
        );
        assert_eq!(wire["deployment"]["feedback"][0]["resource"], "p");
        let diagnostic = &wire["diagnostics"][0];
        assert_eq!((&diagnostic["line"], &diagnostic["column"]), (&json!(3), &json!(12)));
        assert_eq!((&diagnostic["end_line"], &diagnostic["end_column"]), (&json!(3), &json!(13)));
        assert_eq!(wire.get("error"), None);
    }
}
