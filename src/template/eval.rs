//! The walker: a tree and a request's parameters to SQL.
//!
//! In: a [`Program`], parameters, options. Out: the rendered text and what the template asked for on the way
//! (settings, secrets). Every step is counted, so that no template and no parameter can run away.

use super::{
    Params, Program, RenderOptions, Rendered,
    ast::{
        Body, Call, Collect, Comprehension, Const, Expr, Kind, Lambda, Name, Node, Piece, Place, Set, SetKind, Try,
        Unary,
    },
    error::{Class, Fault, Result},
    format,
    functions::{Args, Entry},
    methods, ops,
    origins::Origins,
    resolve::Free,
    secrets::RawSecrets,
    value::{Heap, Map, Num, Value},
};
use indexmap::IndexMap;
use num_bigint::BigInt;
use std::{collections::BTreeSet, sync::Arc};

/// How deep evaluation may nest: expressions within lambdas within blocks.
const MAX_DEPTH: usize = 110;

pub(super) struct Interp<'a> {
    pub(super) program: &'a Program,
    pub(super) params: &'a Params,
    pub(super) options: &'a RenderOptions,
    pub(super) heap: Heap,
    pub(super) settings: IndexMap<String, serde_json::Value>,
    pub(super) secrets: BTreeSet<String>,
    locals: Vec<Option<Value>>,
    free: Vec<Option<Value>>,
    /// The variables of the comprehensions and lambdas that are running, innermost last.
    scopes: Vec<(Arc<str>, Value)>,
    closures: Vec<Closure>,
    depth: usize,
    pub(super) out: String,
    /// Kept where somebody looks at the text: in checks.
    origins: Origins,
    /// Set when the text is a setting, not SQL.
    pub(super) raw: Option<RawSecrets<'a>>,
}

#[derive(Clone)]
struct Closure {
    lambda: Arc<Lambda>,
    defaults: Vec<Value>,
    scopes: Vec<(Arc<str>, Value)>,
}

/// How a body ended.
enum Flow {
    Next,
    Break,
    Continue,
}

pub(super) fn render(program: &Program, params: &Params, options: &RenderOptions) -> Result<Rendered> {
    let mut interp = Interp::new(program, params, options);
    if let Some(defect) = &program.defect {
        return Err(Box::new(Fault { error: defect.clone(), class: Class::ValueError }));
    }
    interp.parse_arrays()?;
    interp.body(&program.nodes)?;
    let Interp { out, settings, secrets, origins, .. } = interp;
    Ok(Rendered { sql: out, settings, secrets: secrets.into_iter().collect(), origins })
}

/// Renders a text that is no SQL: values print as they are, and `tb_secret` is the only function besides Python's.
pub(super) fn render_raw(program: &Program, raw: RawSecrets<'_>) -> Result<String> {
    let params = Params::new();
    let options = RenderOptions::default();
    let mut interp = Interp::new(program, &params, &options);
    interp.raw = Some(raw);
    interp.body(&program.nodes)?;
    Ok(interp.out)
}

impl<'a> Interp<'a> {
    pub(super) fn new(program: &'a Program, params: &'a Params, options: &'a RenderOptions) -> Interp<'a> {
        Interp {
            program,
            params,
            options,
            heap: Heap { max_steps: options.budgets.steps, ..Heap::default() },
            settings: IndexMap::new(),
            secrets: BTreeSet::new(),
            locals: vec![None; program.names.locals.len()],
            free: vec![None; program.names.free.len()],
            scopes: Vec::new(),
            closures: Vec::new(),
            depth: 0,
            out: String::with_capacity(program.text_size + 64),
            origins: Origins::default(),
            raw: None,
        }
    }

    /// Replaces each request parameter that is first declared as an array by its parsed list.
    fn parse_arrays(&mut self) -> Result<()> {
        let program = self.program;
        for (name, item_type) in &program.arrays {
            let Some(given) = self.params.get(&**name) else { continue };
            let slot = program.names.free.iter().position(|it| it.name == *name);
            let Some(slot) = slot else { continue };
            let value = self.value_of_json(given)?;
            if let Some(list) = super::functions::typed::parsed_array(self, &value, item_type)? {
                self.free[slot] = Some(list);
            }
        }
        Ok(())
    }

    pub(super) fn charge(&self, steps: usize) -> Result<()> {
        self.heap.spend(steps)
    }

    /// A string of the template's making, within its budget.
    pub(super) fn text(&self, text: impl Into<Arc<str>>) -> Result<Value> {
        let text = text.into();
        self.check_text(text.len())?;
        Ok(Value::Str(text))
    }

    pub(super) fn check_text(&self, length: usize) -> Result<()> {
        if length > self.options.budgets.string {
            return Err(Fault::budget("bytes in one string", self.options.budgets.string));
        }
        self.charge(length / 32)
    }

    pub(super) fn number(&self, number: BigInt) -> Result<Value> {
        if number.bits() > self.options.budgets.integer_bits as u64 {
            return Err(Fault::budget("bits in one number", self.options.budgets.integer_bits));
        }
        Ok(Value::Num(Num::big(number)))
    }

    pub(super) fn list(&mut self, items: Vec<Value>) -> Result<Value> {
        self.check_items(items.len())?;
        Ok(self.heap.list(items))
    }

    pub(super) fn check_items(&self, length: usize) -> Result<()> {
        self.limit_items(length)?;
        self.charge(length / 4 + 1)
    }

    /// The limit alone: for what grows one by one.
    pub(super) fn limit_items(&self, length: usize) -> Result<()> {
        if length > self.options.budgets.items {
            return Err(Fault::budget("items in one list or loop", self.options.budgets.items));
        }
        self.charge(1)
    }

    pub(super) fn value_of_json(&mut self, json: &serde_json::Value) -> Result<Value> {
        self.charge(1)?;
        Ok(match json {
            serde_json::Value::Null => Value::None,
            serde_json::Value::Bool(it) => Value::Bool(*it),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(it) => Value::int(it),
                None => match number.to_string().parse::<BigInt>() {
                    Ok(it) => self.number(it)?,
                    Err(_) => Value::float(number.as_f64().unwrap_or(f64::NAN)),
                },
            },
            serde_json::Value::String(it) => Value::str(it.as_str()),
            serde_json::Value::Array(items) => {
                let items = items.iter().map(|it| self.value_of_json(it)).collect::<Result<_>>()?;
                self.heap.list(items)
            }
            serde_json::Value::Object(pairs) => {
                let mut map = Map::new();
                for (key, value) in pairs {
                    let value = self.value_of_json(value)?;
                    let key = Value::str(key.as_str());
                    map.insert(self.heap.key(&key)?, (key, value));
                }
                self.heap.dict(map)
            }
        })
    }

    fn body(&mut self, nodes: &'a Body) -> Result<Flow> {
        for node in nodes {
            match self.node(node)? {
                Flow::Next => {}
                other => return Ok(other),
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, node: &'a Node) -> Result<Flow> {
        self.charge(1)?;
        match node {
            Node::Text(text, span) => {
                if self.options.test_mode {
                    self.origins.text(self.out.len(), *span, text.len());
                }
                self.emit(text)?;
            }
            Node::Print(exprs, source) => {
                for expr in exprs {
                    if self.options.test_mode {
                        self.origins.expression(self.out.len(), expr.span);
                    }
                    self.print(expr, source).map_err(|it| it.at(expr.span))?;
                }
            }
            Node::Set(set) => self.set(set)?,
            Node::If(arms, otherwise) => {
                for (test, body) in arms {
                    let value = self.eval(test)?;
                    if self.heap.truth(&value) {
                        return self.body(body);
                    }
                }
                if let Some(body) = otherwise {
                    return self.body(body);
                }
            }
            Node::For(it) => {
                let items = self.eval(&it.iter)?;
                let items = self.iterate(&items).map_err(|fault| fault.at(it.iter.span))?;
                for item in items {
                    self.charge(1)?;
                    self.assign(&it.target, item)?;
                    match self.body(&it.body)? {
                        Flow::Break => return Ok(Flow::Next),
                        Flow::Next | Flow::Continue => {}
                    }
                }
                if let Some(body) = &it.otherwise {
                    return self.body(body);
                }
            }
            Node::While(test, body, otherwise) => return self.repeat(test, body, otherwise.as_ref()),
            Node::Try(it) => return self.attempt(it),
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn repeat(&mut self, test: &'a Expr, body: &'a Body, otherwise: Option<&'a Body>) -> Result<Flow> {
        let mut rounds = 0;
        loop {
            let value = self.eval(test)?;
            if !self.heap.truth(&value) {
                return otherwise.map_or(Ok(Flow::Next), |it| self.body(it));
            }
            rounds += 1;
            self.limit_items(rounds).map_err(|it| it.at(test.span))?;
            if let Flow::Break = self.body(body)? {
                return Ok(Flow::Next);
            }
        }
    }

    fn attempt(&mut self, block: &'a Try) -> Result<Flow> {
        let mut result = self.body(&block.body);
        if let Err(fault) = &result {
            let class = fault.class;
            for handler in &block.handlers {
                let matches = match &handler.class {
                    None => class != Class::Budget,
                    Some(expr) => {
                        let wanted = self.eval(expr)?;
                        self.catches(class, &wanted)
                    }
                };
                if !matches {
                    continue;
                }
                if let (Some(Name { place: Place::Local(slot), .. }), Err(fault)) = (&handler.name, &result) {
                    self.locals[*slot] = Some(Value::Exception(class, fault.error.message.as_str().into()));
                }
                result = self.body(&handler.body);
                if let Some(Name { place: Place::Local(slot), .. }) = &handler.name {
                    self.locals[*slot] = None;
                }
                break;
            }
        } else if let (Ok(Flow::Next), Some(body)) = (&result, &block.otherwise) {
            result = self.body(body);
        }
        if let Some(body) = &block.finally {
            match self.body(body)? {
                Flow::Next => {}
                other => return Ok(other),
            }
        }
        result
    }

    fn catches(&self, class: Class, wanted: &Value) -> bool {
        match wanted {
            Value::Function(entry) => entry.class.is_some_and(|it| class != Class::Budget && class.is_a(it)),
            Value::Tuple(id) => self.heap.sequences[*id].clone().iter().any(|it| self.catches(class, it)),
            _ => false,
        }
    }

    fn set(&mut self, set: &'a Set) -> Result<()> {
        match &set.kind {
            SetKind::Expression => _ = self.eval(&set.value)?,
            SetKind::Assign(targets) => {
                let value = self.eval(&set.value)?;
                for target in targets {
                    self.assign(target, value.clone())?;
                }
            }
            SetKind::Augmented(target, operator) => {
                let left = self.eval(target)?;
                let right = self.eval(&set.value)?;
                let value = ops::augmented(self, *operator, left, right).map_err(|it| it.at(set.value.span))?;
                self.assign(target, value)?;
            }
        }
        Ok(())
    }

    fn assign(&mut self, target: &'a Expr, value: Value) -> Result<()> {
        match &target.kind {
            Kind::Name(name) => match name.place {
                Place::Local(slot) => self.locals[slot] = Some(value),
                Place::Scoped => self.scopes.push((name.text.clone(), value)),
                Place::Free(slot) => self.free[slot] = Some(value),
            },
            Kind::Tuple(targets) | Kind::List(targets) => {
                let items = self.iterate(&value).map_err(|it| it.at(target.span))?;
                self.unpack(target, targets, items)?;
            }
            Kind::Subscript(container, index) => {
                let container = self.eval(container)?;
                let index = self.eval(index)?;
                ops::set_item(self, &container, &index, value).map_err(|it| it.at(target.span))?;
            }
            _ => return Err(Fault::new("runtime", Class::AttributeError, "attributes cannot be set").at(target.span)),
        }
        Ok(())
    }

    fn unpack(&mut self, whole: &Expr, targets: &'a [Expr], mut items: Vec<Value>) -> Result<()> {
        let star = targets.iter().position(|it| matches!(it.kind, Kind::Starred(_)));
        let fits = if star.is_some() { items.len() + 1 >= targets.len() } else { items.len() == targets.len() };
        if !fits {
            let message = format!("{} values cannot be unpacked into {} names", items.len(), targets.len());
            return Err(Fault::value_error(message).at(whole.span));
        }
        let Some(star) = star else {
            for (target, item) in targets.iter().zip(items) {
                self.assign(target, item)?;
            }
            return Ok(());
        };
        let after = items.split_off(items.len() - (targets.len() - star - 1));
        let middle = items.split_off(star);
        for (target, item) in targets[..star].iter().zip(items) {
            self.assign(target, item)?;
        }
        if let Kind::Starred(target) = &targets[star].kind {
            let middle = self.list(middle)?;
            self.assign(target, middle)?;
        }
        for (target, item) in targets[star + 1..].iter().zip(after) {
            self.assign(target, item)?;
        }
        Ok(())
    }

    pub(super) fn eval(&mut self, expr: &'a Expr) -> Result<Value> {
        self.charge(1)?;
        match &expr.kind {
            Kind::Const(constant) => Ok(constant_value(constant)),
            Kind::Name(name) => self.name(name).map_err(|it| it.at(expr.span)),
            _ => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    self.depth -= 1;
                    return Err(Fault::budget("levels of nested evaluation", MAX_DEPTH).at(expr.span));
                }
                let result = self.compound(expr);
                self.depth -= 1;
                result.map_err(|it| it.at(expr.span))
            }
        }
    }

    fn compound(&mut self, expr: &'a Expr) -> Result<Value> {
        match &expr.kind {
            Kind::Call(call) => self.call_expr(call),
            Kind::Bool(is_and, items) => self.bool_expr(*is_and, items),
            Kind::Compare(first, rest) => {
                let mut left = self.eval(first)?;
                for (compare, right) in rest {
                    let right = self.eval(right)?;
                    if !ops::compare(self, *compare, &left, &right)? {
                        return Ok(Value::Bool(false));
                    }
                    left = right;
                }
                Ok(Value::Bool(true))
            }
            Kind::Unary(Unary::Not, it) => {
                let value = self.eval(it)?;
                Ok(Value::Bool(!self.heap.truth(&value)))
            }
            Kind::Unary(operator, it) => {
                let value = self.eval(it)?;
                ops::unary(self, *operator, &value)
            }
            Kind::Binary(operator, left, right) => {
                let left = self.eval(left)?;
                let right = self.eval(right)?;
                ops::binary(self, *operator, &left, &right)
            }
            Kind::Ternary(it) => {
                let test = self.eval(&it.test)?;
                if self.heap.truth(&test) { self.eval(&it.body) } else { self.eval(&it.otherwise) }
            }
            Kind::Subscript(value, index) => {
                let value = self.eval(value)?;
                if let Kind::Slice(from, to, step) = &index.kind {
                    let mut bound = |it: &'a Option<Box<Expr>>| it.as_ref().map(|it| self.eval(it)).transpose();
                    let bounds = [bound(from)?, bound(to)?, bound(step)?];
                    return ops::slice(self, &value, bounds);
                }
                let index = self.eval(index)?;
                ops::item(self, &value, &index)
            }
            Kind::Attribute(value, name) => {
                let value = self.eval(value)?;
                methods::attribute(self, value, name)
            }
            Kind::Tuple(items) => {
                let items = self.items(items)?;
                self.check_items(items.len())?;
                Ok(self.heap.tuple(items))
            }
            Kind::List(items) => {
                let items = self.items(items)?;
                self.list(items)
            }
            Kind::Set(items) => {
                let items = self.items(items)?;
                self.heap.set(items)
            }
            Kind::Dict(pairs) => self.dict_expr(pairs),
            Kind::FString(pieces) => {
                let text = self.pieces(pieces)?;
                self.text(text)
            }
            Kind::Lambda(lambda) => {
                let defaults = lambda.params.iter().filter_map(|(_, it)| it.as_ref());
                // The tree is behind an `Arc`; evaluating a default needs no longer borrow than this.
                let defaults: Vec<Value> = defaults.map(|it| self.constant_only(it)).collect::<Result<_>>()?;
                self.charge(self.scopes.len())?;
                self.closures.push(Closure { lambda: lambda.clone(), defaults, scopes: self.scopes.clone() });
                Ok(Value::Lambda(self.closures.len() - 1))
            }
            Kind::Comprehension(it) => self.comprehension(it),
            Kind::Walrus(target, value) => {
                let value = self.eval(value)?;
                self.assign(target, value.clone())?;
                Ok(value)
            }
            _ => Err(Fault::type_error("this expression has no meaning here")),
        }
    }

    fn constant_only(&mut self, expr: &'a Expr) -> Result<Value> {
        self.eval(expr)
    }

    fn bool_expr(&mut self, is_and: bool, items: &'a [Expr]) -> Result<Value> {
        let mut last = Value::Bool(is_and);
        for item in items {
            last = self.eval(item)?;
            if self.heap.truth(&last) != is_and {
                break;
            }
        }
        Ok(last)
    }

    fn items(&mut self, exprs: &'a [Expr]) -> Result<Vec<Value>> {
        let mut items = Vec::with_capacity(exprs.len());
        for expr in exprs {
            if let Kind::Starred(it) = &expr.kind {
                let value = self.eval(it)?;
                items.extend(self.iterate(&value)?);
            } else {
                items.push(self.eval(expr)?);
            }
        }
        Ok(items)
    }

    fn dict_expr(&mut self, pairs: &'a [(Option<Expr>, Expr)]) -> Result<Value> {
        let mut map = Map::new();
        for (key, value) in pairs {
            match key {
                Some(key) => {
                    let key = self.eval(key)?;
                    let value = self.eval(value)?;
                    map.insert(self.heap.key(&key)?, (key, value));
                }
                None => match self.eval(value)? {
                    Value::Dict(id) => {
                        self.check_items(self.heap.maps[id].len())?;
                        map.extend(self.heap.maps[id].clone());
                    }
                    other => return Err(Fault::type_error(format!("`**` needs a dict, not {}", other.type_name()))),
                },
            }
        }
        Ok(self.heap.dict(map))
    }

    fn pieces(&mut self, pieces: &'a [Piece]) -> Result<String> {
        let mut out = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Field { value, conversion, spec } => {
                    let value = self.eval(value)?;
                    let spec = self.pieces(spec)?;
                    let value = match conversion {
                        Some('s') => Value::str(self.heap.print(&value)?),
                        Some(_) => {
                            let mut shown = String::new();
                            self.heap.repr(&value, false, &mut shown, 0)?;
                            Value::str(shown)
                        }
                        None => value,
                    };
                    out.push_str(&format::format(self, &value, &spec)?);
                }
            }
            self.check_text(out.len())?;
        }
        Ok(out)
    }

    fn comprehension(&mut self, it: &'a Comprehension) -> Result<Value> {
        let outer = self.scopes.len();
        let mut found = Vec::new();
        let result = self.comprehend(it, 0, &mut found);
        self.scopes.truncate(outer);
        result?;
        self.check_items(found.len())?;
        match it.collect {
            Collect::List => Ok(self.heap.list(found.into_iter().map(|(item, _)| item).collect())),
            Collect::Generator => Ok(self.heap.iter(found.into_iter().map(|(item, _)| item).collect())),
            Collect::Set => self.heap.set(found.into_iter().map(|(item, _)| item).collect()),
            Collect::Dict => {
                let mut map = Map::new();
                for (key, value) in found {
                    map.insert(self.heap.key(&key)?, (key, value));
                }
                Ok(self.heap.dict(map))
            }
        }
    }

    fn comprehend(&mut self, it: &'a Comprehension, level: usize, found: &mut Vec<(Value, Value)>) -> Result<()> {
        let Some(each) = it.loops.get(level) else {
            let item = self.eval(&it.item)?;
            let value = it.value.as_ref().map_or(Ok(Value::None), |it| self.eval(it))?;
            found.push((item, value));
            return self.limit_items(found.len());
        };
        let items = self.eval(&each.iter)?;
        let items = self.iterate(&items)?;
        let outer = self.scopes.len();
        'items: for item in items {
            self.scopes.truncate(outer);
            self.assign(&each.target, item)?;
            for condition in &each.conditions {
                let value = self.eval(condition)?;
                if !self.heap.truth(&value) {
                    continue 'items;
                }
            }
            self.comprehend(it, level + 1, found)?;
        }
        Ok(())
    }

    fn name(&mut self, name: &Name) -> Result<Value> {
        match name.place {
            Place::Local(slot) => self.locals[slot].clone().ok_or_else(|| {
                let message = format!("`{}` is read before the template sets it", name.text);
                Fault::new("unbound_local", Class::UnboundLocalError, message).hint(
                    "a name that is set anywhere in a node is the node's own everywhere; give it another name than the parameter",
                )
            }),
            Place::Scoped => {
                let found = self.scopes.iter().rev().find(|(it, _)| *it == name.text);
                found.map(|(_, value)| value.clone()).ok_or_else(|| {
                    Fault::new("undefined_name", Class::NameError, format!("`{}` is not set", name.text))
                })
            }
            Place::Free(slot) => self.free(slot),
        }
    }

    fn free(&mut self, slot: usize) -> Result<Value> {
        if let Some(value) = &self.free[slot] {
            return Ok(value.clone());
        }
        let free = &self.program.names.free[slot];
        self.known(free)?;
        let value = match self.params.get(&*free.name) {
            Some(json) => self.value_of_json(json)?,
            None => match free.entry {
                Some(entry) => Value::Function(entry),
                None if !free.outside => {
                    let message = format!("`{}` is not known within a comprehension or a lambda", free.name);
                    return Err(Fault::new("undefined_name", Class::NameError, message)
                        .hint("set a variable to it first, or name it outside too"));
                }
                None if self.options.test_mode => Value::Placeholder(free.name.clone()),
                None => Value::None,
            },
        };
        self.free[slot] = Some(value.clone());
        Ok(value)
    }

    /// In a setting there are no parameters, and no functions of templates but one.
    fn known(&self, free: &Free) -> Result<()> {
        if self.raw.is_none() || free.entry.is_some_and(|it| it.is_python || it.name == "tb_secret") {
            return Ok(());
        }
        Err(Fault::new("undefined_name", Class::NameError, format!("`{}` has no meaning in a setting", free.name)))
    }

    fn call_expr(&mut self, call: &'a Call) -> Result<Value> {
        // A built-in that is called is the built-in, whatever the request calls its parameters.
        let entry: Option<&'static Entry> = match &call.function.kind {
            Kind::Name(Name { place: Place::Free(slot), .. }) => {
                self.known(&self.program.names.free[*slot])?;
                self.program.names.free[*slot].entry
            }
            Kind::Attribute(value, method) => {
                let receiver = self.eval(value)?;
                methods::check(&receiver, method)?;
                let args = self.args(call)?;
                return methods::call(self, receiver, method, args);
            }
            _ => None,
        };
        if let Some(entry) = entry {
            let args = self.args(call)?;
            self.charge(args.positional.len() + 1)?;
            return (entry.call)(self, args);
        }
        let function = self.eval(&call.function)?;
        let args = self.args(call)?;
        self.call(&function, args)
    }

    fn args(&mut self, call: &'a Call) -> Result<Args> {
        let positional = self.items(&call.args)?;
        let mut keywords = Vec::with_capacity(call.keywords.len());
        for keyword in &call.keywords {
            let value = self.eval(&keyword.value)?;
            match (&keyword.name, value) {
                (Some(name), value) => keywords.push((name.clone(), value)),
                (None, Value::Dict(id)) => {
                    self.check_items(self.heap.maps[id].len())?;
                    for (key, value) in self.heap.maps[id].values() {
                        let Some(name) = key.as_str() else {
                            return Err(Fault::type_error("names of arguments must be strings"));
                        };
                        keywords.push((name.clone(), value.clone()));
                    }
                }
                (None, other) => {
                    return Err(Fault::type_error(format!("`**` needs a dict, not {}", other.type_name())));
                }
            }
        }
        let label = call.args.first().and_then(Expr::as_name).cloned();
        Ok(Args { positional, keywords, label })
    }

    pub(super) fn call(&mut self, function: &Value, args: Args) -> Result<Value> {
        match function {
            Value::Function(entry) => (entry.call)(self, args),
            Value::Bound(bound) => methods::call(self, bound.0.clone(), &bound.1.clone(), args),
            Value::Lambda(id) => self.call_lambda(*id, args),
            Value::Placeholder(name) => {
                let message = format!("`{name}` is a parameter, not a function");
                Err(Fault::new("not_a_function", Class::ValueError, message))
            }
            other => {
                let message = format!("{} cannot be called", other.type_name());
                Err(Fault::new("not_callable", Class::TypeError, message))
            }
        }
    }

    fn call_lambda(&mut self, id: usize, args: Args) -> Result<Value> {
        let Closure { lambda, defaults, scopes } = self.closures[id].clone();
        self.charge(scopes.len() + lambda.params.len())?;
        let mut frame = scopes;
        let required = lambda.params.len() - defaults.len();
        if args.positional.len() > lambda.params.len() {
            return Err(Fault::type_error("the lambda takes fewer arguments"));
        }
        let mut positional = args.positional.into_iter();
        let mut keywords = args.keywords;
        for (index, (name, _)) in lambda.params.iter().enumerate() {
            let named = keywords.iter().position(|(it, _)| it == name).map(|at| keywords.swap_remove(at).1);
            let default = index.checked_sub(required).and_then(|it| defaults.get(it)).cloned();
            let value = positional.next().or(named).or(default).ok_or_else(|| {
                Fault::new("missing_argument", Class::TypeError, format!("the lambda needs the argument `{name}`"))
            })?;
            frame.push((name.clone(), value));
        }
        if !keywords.is_empty() {
            return Err(Fault::type_error("the lambda has no such argument"));
        }
        // The body lives as long as the program: the tree holds the same `Arc`.
        let body: &'a Expr = self.lambda_body(&lambda)?;
        let outer = std::mem::replace(&mut self.scopes, frame);
        let result = self.eval(body);
        self.scopes = outer;
        result
    }

    /// Finds the lambda in the program, so that its body can be borrowed from there.
    fn lambda_body(&self, lambda: &Arc<Lambda>) -> Result<&'a Expr> {
        let found = self.program.lambdas.iter().find(|it| Arc::ptr_eq(it, lambda));
        found.map(|it| &it.body).ok_or_else(|| Fault::type_error("this lambda is not the template's"))
    }

    /// The items of what can be looped over.
    pub(super) fn iterate(&mut self, value: &Value) -> Result<Vec<Value>> {
        let items: Vec<Value> = match value {
            Value::Str(text) | Value::Fragment(text) => {
                self.check_items(text.len())?;
                let mut buffer = [0; 4];
                text.chars().map(|c| Value::str(&*c.encode_utf8(&mut buffer))).collect()
            }
            Value::List(id) | Value::Tuple(id) => self.heap.sequences[*id].clone(),
            Value::Iter(id) => {
                let mut rest = std::mem::take(&mut self.heap.sequences[*id]);
                rest.reverse();
                rest
            }
            Value::Dict(id) | Value::Set(id) => self.heap.maps[*id].values().map(|(key, _)| key.clone()).collect(),
            Value::Bytes(bytes) => bytes.iter().map(|it| Value::int(*it)).collect(),
            Value::Range(from, to, step) => {
                let length = super::value::range_length(*from, *to, *step);
                self.check_items(length)?;
                (0..length as i64).map(|it| Value::int(from + it * step)).collect()
            }
            Value::Placeholder(name) => vec![Value::Placeholder(name.clone()); 3],
            other => {
                let fault = Fault::type_error(format!("{} cannot be looped over", other.type_name()));
                return Err(if other.is_none() { fault.hint("is a parameter missing?") } else { fault });
            }
        };
        self.check_items(items.len())?;
        Ok(items)
    }
}

fn constant_value(constant: &Const) -> Value {
    match constant {
        Const::None => Value::None,
        Const::Bool(it) => Value::Bool(*it),
        Const::Int(it) => Value::int(*it),
        Const::Big(it) => Value::Num(Num::Big(it.clone())),
        Const::Float(it) => Value::float(*it),
        Const::Imaginary | Const::Ellipsis => Value::Ellipsis,
        Const::Str(it) => Value::Str(it.clone()),
        Const::Bytes(it) => Value::Bytes(it.clone()),
    }
}
