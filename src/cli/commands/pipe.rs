//! `birdhouse pipe`: what the project's pipes say about themselves.

use crate::{
    cli::{discover, fault::user, printer::Printer, settings::Settings},
    datafile::{Context, MissingSecret},
    project::{NodeName, resolve},
    template::Parameter,
};
use anyhow::Context as _;
use serde_json::{Value, json};

/// Say what the project's pipes take
///
///   birdhouse pipe params api_audit_log
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
}

pub(super) fn run(args: Args, settings: &Settings, printer: &Printer) -> anyhow::Result<()> {
    let PipeCommand::Params { name, json } = args.command;
    let files = discover::project(&settings.folder).with_context(|| format!("{}", settings.folder.display()))?;
    let context = Context {
        environment: files.environment.clone().into_iter().chain(settings.variables()).collect(),
        secrets: files.environment.clone(),
        missing_secret: MissingSecret::StandIn,
        ..Context::default()
    };
    let (project, diagnostics) = resolve(&files.sources, &context);
    let Some(pipe) = project.pipe(&name) else {
        let of_file = diagnostics.iter().filter(|it| {
            it.place.as_ref().is_some_and(|place| place.path.rsplit('/').next() == Some(&*format!("{name}.pipe")))
        });
        of_file.for_each(|it| printer.diagnostic(it, &files.sources));
        let known: Vec<&str> = project.pipes.keys().map(|it| it.as_str()).collect();
        let near = crate::diagnostic::nearest(&name, known.iter().copied());
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
