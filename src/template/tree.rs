//! Chunks to tree: pairs the tags of blocks and parses what stands in each.
//!
//! In: the template's text. Out: [`Tree`]: nodes in source order, and the first thing that can be read but not
//! run. Every piece is checked here, so a tree holds only what may be evaluated.

use super::{
    TemplateError,
    ast::{Body, For, Handler, Name, Node, Place, Try},
    error::problem,
    scan::{Chunk, Whitespace, scan, trim},
    statement,
    token::syntax,
};
use crate::diagnostic::Span;

/// How deep blocks may nest.
const MAX_BLOCKS: usize = 60;

const FORBIDDEN_TAGS: &[&str] =
    &["extends", "include", "import", "from", "raw", "module", "autoescape", "apply", "block"];

pub(super) const TAGS: &[&str] = &[
    "if",
    "elif",
    "else",
    "for",
    "while",
    "break",
    "continue",
    "try",
    "except",
    "finally",
    "set",
    "comment",
    "whitespace",
    "end",
];

pub(super) struct Tree {
    pub(super) nodes: Body,
    pub(super) defect: Option<TemplateError>,
}

pub(super) fn build(template: &str) -> Result<Tree, TemplateError> {
    let chunks = scan(template)?;
    let mut builder = Builder { template, whitespace: Whitespace::All, open: vec![], nodes: vec![], defect: None };
    for chunk in chunks {
        builder.chunk(chunk)?;
    }
    if let Some(open) = builder.open.last() {
        let message = format!("`{{% {} %}}` has no `{{% end %}}`", open.word());
        return Err(problem("unclosed_block", open.span, message));
    }
    Ok(Tree { nodes: builder.nodes, defect: builder.defect })
}

struct Builder<'a> {
    template: &'a str,
    whitespace: Whitespace,
    open: Vec<Open>,
    /// The nodes of the body that is being read.
    nodes: Body,
    defect: Option<TemplateError>,
}

/// A block whose end was not reached yet.
struct Open {
    span: Span,
    /// What the enclosing body held before.
    outer: Body,
    kind: Block,
}

enum Block {
    If { arms: Vec<(super::ast::Expr, Body)>, pending: Option<super::ast::Expr> },
    For { target: super::ast::Expr, iter: super::ast::Expr, body: Option<Body> },
    While { test: super::ast::Expr, body: Option<Body> },
    Try { block: Try, stage: Stage },
}

enum Stage {
    Body,
    Handler(Option<super::ast::Expr>, Option<Name>),
    Else,
    Finally,
}

impl Open {
    fn word(&self) -> &'static str {
        match self.kind {
            Block::If { .. } => "if",
            Block::For { .. } => "for",
            Block::While { .. } => "while",
            Block::Try { .. } => "try",
        }
    }
}

impl Builder<'_> {
    fn chunk(&mut self, chunk: Chunk) -> Result<(), TemplateError> {
        match chunk {
            Chunk::Text(text) => {
                let text = self.whitespace.apply(&text);
                self.nodes.push(Node::Text(text.into()));
                Ok(())
            }
            Chunk::Expression(span) => {
                let printed = statement::print(self.template, span)?;
                if self.defect.is_none() {
                    self.defect = printed.defect;
                }
                self.nodes.push(Node::Print(printed.exprs, self.template[span.start..span.end].into()));
                Ok(())
            }
            Chunk::Tag(span) => self.tag(span),
        }
    }

    fn tag(&mut self, span: Span) -> Result<(), TemplateError> {
        let text = &self.template[span.start..span.end];
        // Only the space ends the word of a tag, in the original too.
        let length = text.find(' ').unwrap_or(text.len());
        let word = &text[..length];
        let rest = trim(self.template, Span::new(span.start + length, span.end));
        match word {
            "if" => {
                let test = statement::condition(self.template, rest)?;
                self.enter(span, Block::If { arms: vec![], pending: Some(test) })
            }
            "for" => {
                let (target, iter) = statement::for_head(self.template, rest)?;
                self.enter(span, Block::For { target, iter, body: None })
            }
            "while" => {
                let test = statement::condition(self.template, rest)?;
                self.enter(span, Block::While { test, body: None })
            }
            "try" => {
                bare(word, rest)?;
                self.enter(span, Block::Try { block: Try::default(), stage: Stage::Body })
            }
            "elif" => self.elif(span, rest),
            "else" => self.otherwise(span, rest),
            "except" => self.except(span, rest),
            "finally" => self.finally(span, rest),
            "end" => self.end(span),
            "break" | "continue" => {
                let in_loop = self.open.iter().any(|it| matches!(it.kind, Block::For { .. } | Block::While { .. }));
                if !in_loop {
                    return Err(problem("parse", span, format!("`{word}` stands outside a loop")));
                }
                self.nodes.push(if word == "break" { Node::Break } else { Node::Continue });
                Ok(())
            }
            "set" => {
                if rest.is_empty() {
                    return Err(problem("parse", span, "`{% set %}` sets nothing"));
                }
                let set = statement::set(self.template, rest)?;
                self.nodes.push(Node::Set(Box::new(set)));
                Ok(())
            }
            "comment" => Ok(()),
            "whitespace" => {
                let mode = &self.template[rest.start..rest.end];
                let found = Whitespace::named(mode);
                self.whitespace = found.ok_or_else(|| {
                    problem("whitespace_mode", span, "`{% whitespace %}` takes `all`, `single` or `oneline`")
                })?;
                Ok(())
            }
            _ if FORBIDDEN_TAGS.contains(&word) => {
                Err(problem("parse", span, format!("the tag `{word}` is not available here")))
            }
            _ => Err(unknown_tag(word, span)),
        }
    }

    fn enter(&mut self, span: Span, kind: Block) -> Result<(), TemplateError> {
        if self.open.len() >= MAX_BLOCKS {
            let message = format!("blocks nest deeper than their budget of {MAX_BLOCKS} levels");
            return Err(problem("budget", span, message));
        }
        self.open.push(Open { span, outer: std::mem::take(&mut self.nodes), kind });
        Ok(())
    }

    fn elif(&mut self, span: Span, rest: Span) -> Result<(), TemplateError> {
        if !matches!(self.open.last(), Some(Open { kind: Block::If { .. }, .. })) {
            return Err(outside("elif", "if", span));
        }
        let test = statement::condition(self.template, rest)?;
        let Some(Open { kind: Block::If { arms, pending }, .. }) = self.open.last_mut() else { return Ok(()) };
        let Some(last) = pending.take() else {
            return Err(syntax(span, "`elif` stands after `else`"));
        };
        arms.push((last, std::mem::take(&mut self.nodes)));
        *pending = Some(test);
        Ok(())
    }

    fn otherwise(&mut self, span: Span, rest: Span) -> Result<(), TemplateError> {
        let Some(open) = self.open.last_mut() else {
            return Err(outside("else", "if", span));
        };
        if !rest.is_empty() {
            let hint = "write `{% elif condition %}`";
            return Err(problem("forbidden", span, "nothing may follow `else`").with_hint(hint));
        }
        let nodes = std::mem::take(&mut self.nodes);
        let second = || syntax(span, "this block has a second `else`");
        match &mut open.kind {
            Block::If { arms, pending } => arms.push((pending.take().ok_or_else(second)?, nodes)),
            Block::For { body, .. } | Block::While { body, .. } => {
                if body.replace(nodes).is_some() {
                    return Err(second());
                }
            }
            Block::Try { block, stage } => {
                if !matches!(stage, Stage::Handler(..)) {
                    return Err(syntax(span, "the `else` of a `try` stands after an `except`"));
                }
                block.close(stage, nodes);
                *stage = Stage::Else;
            }
        }
        Ok(())
    }

    fn except(&mut self, span: Span, rest: Span) -> Result<(), TemplateError> {
        let Some(Open { kind: Block::Try { block, stage }, .. }) = self.open.last_mut() else {
            return Err(outside("except", "try", span));
        };
        let (class, name) = statement::except_head(self.template, rest)?;
        let after_all = block.handlers.last().is_some_and(|it| it.class.is_none())
            || matches!(stage, Stage::Handler(None, _) | Stage::Else | Stage::Finally);
        if after_all {
            return Err(syntax(span, "this `except` can never be reached"));
        }
        block.close(stage, std::mem::take(&mut self.nodes));
        *stage = Stage::Handler(class, name.map(|text| Name { text, place: Place::Scoped }));
        Ok(())
    }

    fn finally(&mut self, span: Span, rest: Span) -> Result<(), TemplateError> {
        let Some(Open { kind: Block::Try { block, stage }, .. }) = self.open.last_mut() else {
            return Err(outside("finally", "try", span));
        };
        bare("finally", rest)?;
        if matches!(stage, Stage::Finally) {
            return Err(syntax(span, "this block has a second `finally`"));
        }
        block.close(stage, std::mem::take(&mut self.nodes));
        *stage = Stage::Finally;
        Ok(())
    }

    fn end(&mut self, span: Span) -> Result<(), TemplateError> {
        let Some(Open { outer, kind, .. }) = self.open.pop() else {
            return Err(problem("parse", span, "this `{% end %}` closes nothing"));
        };
        let nodes = std::mem::replace(&mut self.nodes, outer);
        let node = match kind {
            Block::If { mut arms, pending: Some(test) } => {
                arms.push((test, nodes));
                Node::If(arms, None)
            }
            Block::If { arms, pending: None } => Node::If(arms, Some(nodes)),
            Block::For { target, iter, body } => Node::For(Box::new(match body {
                Some(body) => For { target, iter, body, otherwise: Some(nodes) },
                None => For { target, iter, body: nodes, otherwise: None },
            })),
            Block::While { test, body: Some(body) } => Node::While(test, body, Some(nodes)),
            Block::While { test, body: None } => Node::While(test, nodes, None),
            Block::Try { mut block, mut stage } => {
                block.close(&mut stage, nodes);
                if block.handlers.is_empty() && block.finally.is_none() {
                    return Err(syntax(span, "a `try` needs an `except` or a `finally`"));
                }
                Node::Try(Box::new(block))
            }
        };
        self.nodes.push(node);
        Ok(())
    }
}

impl Try {
    fn close(&mut self, stage: &mut Stage, nodes: Body) {
        match stage {
            Stage::Body => self.body = nodes,
            Stage::Handler(class, name) => {
                self.handlers.push(Handler { class: class.take(), name: name.take(), body: nodes });
            }
            Stage::Else => self.otherwise = Some(nodes),
            Stage::Finally => self.finally = Some(nodes),
        }
    }
}

fn outside(word: &str, block: &str, span: Span) -> TemplateError {
    problem("parse", span, format!("`{word}` stands outside `{{% {block} %}}`"))
}

fn bare(word: &str, rest: Span) -> Result<(), TemplateError> {
    if rest.is_empty() {
        return Ok(());
    }
    Err(problem("forbidden", rest, format!("nothing may follow `{word}`")))
}

fn unknown_tag(word: &str, span: Span) -> TemplateError {
    let error = problem("parse", span, format!("there is no tag `{word}`"));
    let hint = match word {
        "endif" | "endfor" | "endwhile" => Some("close a block with `{% end %}`".to_owned()),
        "elseif" | "elsif" => Some("write `{% elif condition %}`".to_owned()),
        _ if word.starts_with('-') => Some("tags are not trimmed here: write `{% if … %}`".to_owned()),
        _ => crate::diagnostic::nearest(word, TAGS.iter().copied()).map(|near| format!("did you mean `{near}`?")),
    };
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}
