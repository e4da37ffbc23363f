//! `birdhouse pipe`: what the project's pipes say about themselves, and what a server's endpoints answer.

use super::{
    sql::{self, OutputFormat},
    wait,
};
use crate::{
    cli::{args::TargetArgs, client::Client, discover, fault::user, printer::Printer, settings::Settings},
    datafile::{Context, MissingSecret},
    diagnostic::Sources,
    project::{NodeName, resolve},
    sql::statement,
    template::Parameter,
};
use anyhow::Context as _;
use serde_json::{Value, json};

/// Say what the project's pipes take, and what a server's endpoints answer
///
///   birdhouse pipe params api_audit_log
///   birdhouse pipe data api_audit_log --param company_id=1 --as company_1_token
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: PipeCommand,
}

#[derive(Debug, clap::Subcommand)]
enum PipeCommand {
    /// List the parameters of an endpoint: of every node its answer comes from, other pipes' included
    ///
    /// Reads the project in this folder, not a server.
    Params {
        /// The pipe
        name: String,
        /// Print a JSON list
        #[arg(long)]
        json: bool,
    },
    /// Call an endpoint of a running server and print its rows
    Data {
        /// The endpoint
        name: String,
        /// A parameter, like company_id=1; may be given many times
        #[arg(long = "param", value_name = "NAME=VALUE")]
        params: Vec<String>,
        /// How rows are printed
        #[arg(long, value_enum, default_value_t = OutputFormat::Pretty)]
        format: OutputFormat,
        /// See what another token sees: its name; yours must be one that manages tokens
        #[arg(long = "as", value_name = "TOKEN")]
        as_token: Option<String>,
        #[command(flatten)]
        target: TargetArgs,
    },
}

pub(super) fn run(args: Args, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    match args.command {
        PipeCommand::Params { name, json } => parameters(&name, json, settings, printer),
        PipeCommand::Data { name, params, format, as_token, target } => {
            let target = settings.target(&target)?;
            let target = match as_token {
                Some(token) => sql::as_token(&token, target)?,
                None => target,
            };
            data(&name, &params, format, &Client::new(&target)?, printer)
        }
    }
}

/// The endpoint's rows in any format that SQL has.
fn data(name: &str, params: &[String], format: OutputFormat, client: &Client, printer: &Printer) -> anyhow::Result<()> {
    let query = format!("{} FORMAT {}", statement::WHOLE_PIPE, format.name());
    let mut form = vec![("q", query.as_str()), ("pipeline", name)];
    for param in params {
        let pair = param.split_once('=').filter(|(name, _)| !name.is_empty());
        form.push(pair.ok_or_else(|| user(format!("--param {param}: a parameter is name=value")))?);
    }
    wait(async { sql::print(client.ask(&form).await?, printer).await })
}

fn parameters(name: &str, json: bool, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    let files = discover::project(&settings.folder).with_context(|| format!("{}", settings.folder.display()))?;
    let context = Context {
        environment: files.environment.clone().into_iter().chain(settings.variables()).collect(),
        secrets: files.environment.clone(),
        missing_secret: MissingSecret::StandIn,
        ..Context::default()
    };
    let (project, diagnostics) = resolve(&files.sources, &context);
    let Some(pipe) = project.pipe(name) else {
        let of_file = diagnostics.iter().filter(|it| {
            it.place.as_ref().is_some_and(|place| place.path.rsplit('/').next() == Some(&*format!("{name}.pipe")))
        });
        of_file.for_each(|it| printer.diagnostic(it, &Sources::of(&files.sources)));
        let known: Vec<&str> = project.pipes.keys().map(|it| it.as_str()).collect();
        let near = crate::diagnostic::nearest(name, known.iter().copied());
        let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        return Err(user(format!("there is no pipe `{name}` here that can be read{hint}")));
    };
    let parameters = project.parameters(pipe, pipe.output_node());
    if json {
        let list: Vec<Value> = parameters.iter().map(wire).collect();
        printer.line(Value::Array(list))?;
        return Ok(());
    }
    if parameters.is_empty() {
        printer.note(format!("`{name}` takes no parameters"));
    }
    for parameter in &parameters {
        let mut line = format!("{}  {}", parameter.name, parameter.type_name);
        match &parameter.default {
            Some(default) => line.push_str(&format!("  default {default}")),
            None if parameter.required => line.push_str("  required"),
            None => line.push_str("  optional"),
        }
        printer.line(line)?;
        if let Some(description) = &parameter.description {
            printer.line(format!("    {description}"))?;
        }
        if let Some(values) = &parameter.enumeration {
            printer.line(format!("    one of {}", Value::Array(values.clone())))?;
        }
        if let Some(example) = &parameter.example {
            printer.line(format!("    for example {example}"))?;
        }
        printer.line(format!("    in {}", places(&parameter.used_in).join(", ")))?;
    }
    Ok(())
}

fn places(used_in: &[NodeName]) -> Vec<String> {
    used_in.iter().map(|it| format!("{}.{}", it.pipe, it.node)).collect()
}

fn wire(parameter: &Parameter<NodeName>) -> Value {
    json!({
        "name": parameter.name,
        "type": parameter.type_name,
        "default": parameter.default,
        "required": parameter.required,
        "description": parameter.description,
        "enum": parameter.enumeration,
        "example": parameter.example,
        "format": parameter.format,
        "used_in": places(&parameter.used_in),
    })
}
