//! Chunks to tree: pairs the tags of blocks and parses what stands in each.
//!
//! In: the template's text. Out: [`Tree`]: nodes in source order, and the first thing that can be read but not
//! run. Every piece is checked here, so a tree holds only what may be evaluated.

use super::{
    TemplateError,
    ast::{Body, Const, Expr, For, Handler, Kind, Name, Node, Place, Set, SetKind, Try},
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
    let (chunks, cut) = scan(template);
    let mut builder = Builder {
        template,
        whitespace: Whitespace::All,
        open: vec![],
        nodes: vec![],
        defect: None,
        unreadable: None,
        forbidden: None,
    };
    for chunk in chunks {
        builder.chunk(chunk)?;
    }
    if let Some(error) = cut {
        return Err(error);
    }
    if let Some(open) = builder.open.last() {
        let message = format!("`{{% {} %}}` has no `{{% end %}}`", open.word());
        return Err(problem("unclosed_block", open.span, message));
    }
    if let Some(error) = builder.unreadable {
        return Err(error);
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
    /// What is no Python in a tag is told when all tags and `{{ }}` were seen.
    unreadable: Option<TemplateError>,
    /// What was just found to be forbidden in a block's tag.
    forbidden: Option<TemplateError>,
}

/// A block whose end was not reached yet.
struct Open {
    span: Span,
    /// What the enclosing body held before.
    outer: Body,
    /// What is forbidden in its tags is told at its end.
    refused: Option<TemplateError>,
    kind: Block,
}

enum Block {
    If {
        arms: Vec<(Expr, Body)>,
        pending: Option<Expr>,
    },
    For {
        target: Expr,
        iter: Expr,
        body: Option<Body>,
    },
    While {
        test: Expr,
        body: Option<Body>,
    },
    Try {
        block: Try,
        stage: Stage,
    },
    /// `block`, whose body is read before it is refused.
    Refused,
}

enum Stage {
    Body,
    Handler(Option<Expr>, Option<Name>),
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
            Block::Refused => "block",
        }
    }
}

impl Builder<'_> {
    fn chunk(&mut self, chunk: Chunk) -> Result<(), TemplateError> {
        match chunk {
            Chunk::Text(span) => {
                let text = self.whitespace.apply(&self.template[span.start..span.end]);
                self.nodes.push(Node::Text(text.into(), span));
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
            Chunk::Tag(span) => {
                self.tag(span)?;
                if let (Some(error), Some(open)) = (self.forbidden.take(), self.open.last_mut()) {
                    open.refused.get_or_insert(error);
                }
                Ok(())
            }
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
                let test = statement::condition(self.template, rest);
                let test = self.later(test, rest)?;
                self.enter(span, Block::If { arms: vec![], pending: Some(test) })
            }
            "for" => {
                let head = statement::for_head(self.template, rest);
                let (target, iter) = self.later(head, rest)?;
                self.enter(span, Block::For { target, iter, body: None })
            }
            "while" => {
                let test = statement::condition(self.template, rest);
                let test = self.later(test, rest)?;
                self.enter(span, Block::While { test, body: None })
            }
            "try" => {
                self.bare(word, rest);
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
                let set = statement::set(self.template, rest);
                let set = self.later(set, rest)?;
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
            "block" => self.enter(span, Block::Refused),
            _ if FORBIDDEN_TAGS.contains(&word) => Err(unavailable(word, span)),
            _ => Err(unknown_tag(word, span)),
        }
    }

    /// What a tag holds; if it is wrong in itself, that is told later, and something harmless stands in for it.
    fn later<T: Harmless>(&mut self, read: Result<T, TemplateError>, span: Span) -> Result<T, TemplateError> {
        let error = match read {
            Ok(read) => return Ok(read),
            Err(error) => error,
        };
        match (error.category, T::BLOCK) {
            ("forbidden", true) => _ = self.forbidden.get_or_insert(error),
            ("python_syntax", _) => _ = self.unreadable.get_or_insert(error),
            _ => return Err(error),
        }
        Ok(T::harmless(span))
    }

    fn bare(&mut self, word: &str, rest: Span) {
        if !rest.is_empty() {
            let error = problem("forbidden", rest, format!("nothing may follow `{word}`"));
            self.forbidden.get_or_insert(error);
        }
    }

    fn enter(&mut self, span: Span, kind: Block) -> Result<(), TemplateError> {
        if self.open.len() >= MAX_BLOCKS {
            let message = format!("blocks nest deeper than their budget of {MAX_BLOCKS} levels");
            return Err(problem("budget", span, message));
        }
        let refused = self.forbidden.take();
        self.open.push(Open { span, outer: std::mem::take(&mut self.nodes), refused, kind });
        Ok(())
    }

    fn elif(&mut self, span: Span, rest: Span) -> Result<(), TemplateError> {
        if !matches!(self.open.last(), Some(Open { kind: Block::If { .. }, .. })) {
            return Err(outside("elif", "if", span));
        }
        let test = statement::condition(self.template, rest);
        let test = self.later(test, rest)?;
        let Some(Open { kind: Block::If { arms, pending }, .. }) = self.open.last_mut() else { return Ok(()) };
        let Some(last) = pending.take() else {
            self.unreadable.get_or_insert_with(|| syntax(span, "`elif` stands after `else`"));
            return Ok(());
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
            let refused = || problem("forbidden", span, "nothing may follow `else`").with_hint(hint);
            open.refused.get_or_insert_with(refused);
        }
        let nodes = std::mem::take(&mut self.nodes);
        let mut second = || _ = self.unreadable.get_or_insert_with(|| syntax(span, "this block has a second `else`"));
        match &mut open.kind {
            Block::If { arms, pending } => match pending.take() {
                Some(test) => arms.push((test, nodes)),
                None => second(),
            },
            Block::For { body, .. } | Block::While { body, .. } => {
                if body.replace(nodes).is_some() {
                    second();
                }
            }
            Block::Refused => return Err(outside("else", "if", span)),
            Block::Try { block, stage } => {
                if !matches!(stage, Stage::Handler(..)) {
                    let message = "the `else` of a `try` stands after an `except`";
                    self.unreadable.get_or_insert_with(|| syntax(span, message));
                    return Ok(());
                }
                block.close(stage, nodes);
                *stage = Stage::Else;
            }
        }
        Ok(())
    }

    fn except(&mut self, span: Span, rest: Span) -> Result<(), TemplateError> {
        if !matches!(self.open.last(), Some(Open { kind: Block::Try { .. }, .. })) {
            return Err(outside("except", "try", span));
        }
        let head = statement::except_head(self.template, rest);
        let (class, name) = self.later(head, rest)?;
        let Some(Open { kind: Block::Try { block, stage }, .. }) = self.open.last_mut() else { return Ok(()) };
        let after_all = block.handlers.last().is_some_and(|it| it.class.is_none())
            || matches!(stage, Stage::Handler(None, _) | Stage::Else | Stage::Finally);
        if after_all {
            self.unreadable.get_or_insert_with(|| syntax(span, "this `except` can never be reached"));
            return Ok(());
        }
        block.close(stage, std::mem::take(&mut self.nodes));
        *stage = Stage::Handler(class, name.map(|text| Name { text, place: Place::Scoped }));
        Ok(())
    }

    fn finally(&mut self, span: Span, rest: Span) -> Result<(), TemplateError> {
        if !matches!(self.open.last(), Some(Open { kind: Block::Try { .. }, .. })) {
            return Err(outside("finally", "try", span));
        }
        self.bare("finally", rest);
        let Some(Open { kind: Block::Try { block, stage }, .. }) = self.open.last_mut() else { return Ok(()) };

        if matches!(stage, Stage::Finally) {
            self.unreadable.get_or_insert_with(|| syntax(span, "this block has a second `finally`"));
            return Ok(());
        }
        block.close(stage, std::mem::take(&mut self.nodes));
        *stage = Stage::Finally;
        Ok(())
    }

    fn end(&mut self, span: Span) -> Result<(), TemplateError> {
        let Some(Open { outer, kind, refused, .. }) = self.open.pop() else {
            return Err(problem("parse", span, "this `{% end %}` closes nothing"));
        };
        if let Some(error) = refused {
            return Err(error);
        }
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
                    let message = "a `try` needs an `except` or a `finally`";
                    self.unreadable.get_or_insert_with(|| syntax(span, message));
                }
                Node::Try(Box::new(block))
            }
            Block::Refused => return Err(unavailable("block", span)),
        };
        self.nodes.push(node);
        Ok(())
    }
}

/// What stands in for something that could not be read, until that is told.
trait Harmless {
    /// Whether it belongs to a block, at whose end it is judged.
    const BLOCK: bool = true;
    fn harmless(span: Span) -> Self;
}

impl Harmless for Expr {
    fn harmless(span: Span) -> Expr {
        Expr::new(Kind::Const(Const::None), span)
    }
}

impl Harmless for (Expr, Expr) {
    fn harmless(span: Span) -> (Expr, Expr) {
        (Expr::harmless(span), Expr::harmless(span))
    }
}

impl Harmless for (Option<Expr>, Option<std::sync::Arc<str>>) {
    fn harmless(span: Span) -> Self {
        (Some(Expr::harmless(span)), None)
    }
}

impl Harmless for Set {
    const BLOCK: bool = false;

    fn harmless(span: Span) -> Set {
        Set { kind: SetKind::Expression, value: Expr::harmless(span), has_braces: false }
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

fn unavailable(word: &str, span: Span) -> TemplateError {
    problem("parse", span, format!("the tag `{word}` is not available here"))
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
