//! The stack machine that a pickle is a program for.

mod calls;

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use crate::data::pickle::document::{Document, Id, Node, PickleError};

/// More opcodes and copied items than any checkpoint has: a tensor takes about thirty.
const MOST_STEPS: usize = 1 << 22;

/// More bytes than the pickle of any checkpoint has: the numbers lie outside of it.
const MOST_BYTES: u64 = 1 << 28;

/// More bytes than the values of any checkpoint take here: short opcodes may copy long names.
const MOST_HELD: usize = 1 << 29;

/// Longer than any name of what Python imports.
const LONGEST_NAME: usize = 1024;

/// Longer than any name of a storage, a number.
const LONGEST_KEY: usize = 64;

type Result<T> = std::result::Result<T, PickleError>;

/// Parses one pickle and leaves the input behind it.
pub(crate) fn parse(input: &mut impl Read) -> Result<Document> {
    let mut machine = Machine {
        input,
        offset: 0,
        steps: 0,
        held: 0,
        nodes: vec![],
        stack: vec![],
        marks: vec![],
        memo: BTreeMap::new(),
        arguments: BTreeMap::new(),
    };
    let root = machine.run()?;
    let Machine { nodes, arguments, .. } = machine;
    Ok(Document { nodes, root, arguments })
}

/// The stack machine, part of the way through its program.
struct Machine<'a, R> {
    input: &'a mut R,
    offset: u64,
    steps: usize,
    /// Bytes that the nodes take.
    held: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack at its open marks.
    marks: Vec<usize>,
    memo: BTreeMap<u32, Id>,
    arguments: BTreeMap<usize, Id>,
}

impl<R: Read> Machine<'_, R> {
    fn error<T>(&self, problem: impl Into<String>) -> Result<T> {
        Err(PickleError { offset: self.offset, problem: problem.into() })
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        if let Err(error) = self.input.read_exact(&mut bytes) {
            return self.broken(&error);
        }
        self.count(N as u64)?;
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8> {
        self.bytes::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn count(&mut self, bytes: u64) -> Result<()> {
        self.offset += bytes;
        if self.offset > MOST_BYTES {
            return self.error(format!("it is longer than {MOST_BYTES} bytes"));
        }
        Ok(())
    }

    fn spend(&mut self, steps: usize) -> Result<()> {
        self.steps += steps;
        if self.steps > MOST_STEPS {
            return self.error(format!("it takes more than {MOST_STEPS} steps"));
        }
        Ok(())
    }

    fn broken<T>(&self, error: &io::Error) -> Result<T> {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => self.error("it ends too early"),
            _ => self.error(error.to_string()),
        }
    }

    /// So many bytes, of which no more are held than there are.
    fn run_of(&mut self, len: u64) -> Result<Vec<u8>> {
        if self.offset.saturating_add(len) > MOST_BYTES {
            return self.error(format!("{len} bytes in one piece are too many"));
        }
        let mut bytes = vec![];
        match self.input.by_ref().take(len).read_to_end(&mut bytes) {
            Ok(found) if found as u64 == len => {}
            Ok(_) => return self.error("it ends too early"),
            Err(error) => return self.broken(&error),
        }
        self.count(len)?;
        Ok(bytes)
    }

    fn text(&mut self, len: u64) -> Result<Node> {
        let bytes = self.run_of(len)?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Node::Text(text)),
            Err(_) => self.error("text that is not UTF-8"),
        }
    }

    /// A string of Python 2, which may be text or bytes.
    fn string(&mut self, len: u64) -> Result<Node> {
        let bytes = self.run_of(len)?;
        Ok(String::from_utf8(bytes)
            .map_or_else(|error| Node::Bytes(error.into_bytes()), Node::Text))
    }

    /// Text up to the end of the line.
    fn line(&mut self) -> Result<String> {
        let mut line = vec![];
        loop {
            match self.byte()? {
                b'\n' => break,
                byte if line.len() < LONGEST_NAME => line.push(byte),
                _ => return self.error("a name without an end"),
            }
        }
        String::from_utf8(line).or_else(|_| self.error("text that is not UTF-8"))
    }

    fn push(&mut self, node: Node) -> Result<()> {
        self.held += node.bytes();
        if self.held > MOST_HELD {
            return self.error(format!("its values take more than {MOST_HELD} bytes"));
        }
        self.nodes.push(node);
        self.put(Id(self.nodes.len() - 1))
    }

    #[allow(clippy::unnecessary_wraps, reason = "the end of most opcodes")]
    fn put(&mut self, id: Id) -> Result<()> {
        self.stack.push(id);
        Ok(())
    }

    fn pop(&mut self) -> Result<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.pop() {
            Some(id) if self.stack.len() >= floor => Ok(id),
            _ => self.error("it takes a value where there is none"),
        }
    }

    fn top(&self) -> Result<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.last() {
            Some(&id) if self.stack.len() > floor => Ok(id),
            _ => self.error("it takes a value where there is none"),
        }
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>> {
        match self.marks.pop() {
            Some(height) => Ok(self.stack.split_off(height)),
            None => self.error("it goes back to a mark that it never made"),
        }
    }

    fn remember(&mut self, index: u32) -> Result<()> {
        let id = self.top()?;
        self.memo.insert(index, id);
        Ok(())
    }

    fn recall(&mut self, index: u32) -> Result<()> {
        match self.memo.get(&index).copied() {
            Some(id) => self.put(id),
            None => self.error(format!("it recalls value {index}, which it never kept")),
        }
    }

    /// Runs to the end and returns the one value that is left.
    fn run(&mut self) -> Result<Id> {
        if self.bytes::<2>()?[0] != 0x80 {
            return self.error("it does not begin as a pickle of protocol 2 or later");
        }
        loop {
            let opcode = self.byte()?;
            if opcode == b'.' {
                let root = self.pop()?;
                return if self.stack.is_empty() && self.marks.is_empty() {
                    Ok(root)
                } else {
                    self.error("it ends with more than one value")
                };
            }
            self.spend(1)?;
            self.step(opcode)?;
        }
    }

    #[allow(clippy::too_many_lines, reason = "one line an opcode")]
    fn step(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            // PROTO, FRAME: how it is cut into pieces says nothing about the values.
            0x80 => self.byte().map(drop),
            0x95 => self.bytes::<8>().map(drop),
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop().map(drop),
            b'b' => self.build(),
            b'1' => self.pop_to_mark().map(drop),
            b'2' => self.top().and_then(|id| self.put(id)),
            // Atoms.
            b'N' => self.push(Node::None),
            0x88 => self.push(Node::Bool(true)),
            0x89 => self.push(Node::Bool(false)),
            b'K' => self.byte().and_then(|n| self.push(Node::Int(n.into()))),
            b'M' => self.bytes().and_then(|n| self.push(Node::Int(u16::from_le_bytes(n).into()))),
            b'J' => self.bytes().and_then(|n| self.push(Node::Int(i32::from_le_bytes(n).into()))),
            b'G' => self.bytes().and_then(|x| self.push(Node::Float(f64::from_be_bytes(x)))),
            0x8a => self.byte().and_then(|len| self.long(len.into())),
            0x8b => self.u32().and_then(|len| self.long(len.into())),
            0x8c => {
                let len = self.byte()?.into();
                let text = self.text(len)?;
                self.push(text)
            }
            b'X' => {
                let len = self.u32()?.into();
                let text = self.text(len)?;
                self.push(text)
            }
            b'U' => {
                let len = self.byte()?.into();
                let string = self.string(len)?;
                self.push(string)
            }
            b'T' => {
                let len = self.u32()?.into();
                let string = self.string(len)?;
                self.push(string)
            }
            0x8d => {
                let len = u64::from_le_bytes(self.bytes()?);
                let text = self.text(len)?;
                self.push(text)
            }
            b'C' => self.byte().and_then(|len| self.raw(len.into())),
            b'B' => self.u32().and_then(|len| self.raw(len.into())),
            0x8e | 0x96 => {
                let len = u64::from_le_bytes(self.bytes()?);
                self.raw(len)
            }
            // Collections.
            b')' => self.push(Node::Tuple(vec![])),
            0x85..=0x87 => {
                let mut items = Vec::with_capacity(3);
                for _ in 0x85..=opcode {
                    items.push(self.pop()?);
                }
                items.reverse();
                self.push(Node::Tuple(items))
            }
            b't' | 0x91 => {
                let items = self.pop_to_mark()?;
                self.push(Node::Tuple(items))
            }
            b']' | 0x8f => self.push(Node::List(vec![])),
            b'l' => {
                let items = self.pop_to_mark()?;
                self.push(Node::List(items))
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(&[item])
            }
            b'e' | 0x90 => {
                let items = self.pop_to_mark()?;
                self.extend(&items)
            }
            b'}' => self.push(Node::Dict(vec![])),
            b'd' => {
                let items = self.pop_to_mark()?;
                self.push(Node::Dict(vec![]))?;
                self.set(&items)
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set(&[key, value])
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.set(&items)
            }
            // The memo.
            b'q' => self.byte().and_then(|index| self.remember(index.into())),
            b'r' => self.u32().and_then(|index| self.remember(index)),
            0x94 => {
                let index = u32::try_from(self.memo.len()).unwrap_or(u32::MAX);
                self.remember(index)
            }
            b'h' => self.byte().and_then(|index| self.recall(index.into())),
            b'j' => self.u32().and_then(|index| self.recall(index)),
            // What Python would import and call.
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Node::Global(format!("{module}.{name}")))
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (&self.nodes[module.0], &self.nodes[name.0]) {
                    (Node::Text(module), Node::Text(name))
                        if module.len().max(name.len()) <= LONGEST_NAME =>
                    {
                        let global = Node::Global(format!("{module}.{name}"));
                        self.push(global)
                    }
                    _ => self.error("it imports something without a name"),
                }
            }
            b'R' | 0x81 => {
                let (arguments, callee) = (self.pop()?, self.pop()?);
                self.call(callee, arguments)
            }
            0x92 => {
                let (_named, arguments, callee) = (self.pop()?, self.pop()?, self.pop()?);
                self.call(callee, arguments)
            }
            b'Q' => {
                let id = self.pop()?;
                let node = self.outside(id)?;
                self.push(node)
            }
            other => self.error(format!("opcode {other:#04x}, which torch.save does not write")),
        }
    }

    fn raw(&mut self, len: u64) -> Result<()> {
        let bytes = self.run_of(len)?;
        self.push(Node::Bytes(bytes))
    }

    /// An integer of so many bytes, little-endian, two's complement.
    fn long(&mut self, len: u64) -> Result<()> {
        let bytes = self.run_of(len)?;
        let node = if bytes.len() > 8 {
            Node::Opaque
        } else {
            let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
            let mut whole = [if negative { 0xff } else { 0 }; 8];
            whole[..bytes.len()].copy_from_slice(&bytes);
            Node::Int(i64::from_le_bytes(whole))
        };
        self.push(node)
    }

    fn extend(&mut self, items: &[Id]) -> Result<()> {
        let target = self.top()?;
        match &mut self.nodes[target.0] {
            Node::List(list) => list.extend(items),
            Node::Object(..) => {}
            _ => return self.error("it appends to what is no list"),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Id]) -> Result<()> {
        let target = self.top()?;
        if !items.len().is_multiple_of(2) {
            return self.error("a key without a value");
        }
        match &mut self.nodes[target.0] {
            Node::Dict(dict) => dict.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1]))),
            Node::Object(..) => {}
            _ => return self.error("it sets an item of what is no dictionary"),
        }
        Ok(())
    }

    /// The state of an object: the attributes of a module that was saved whole, for one. Torch's
    /// `OrderedDict` carries `_metadata`, of no use here.
    fn build(&mut self) -> Result<()> {
        let state = self.pop()?;
        let target = self.top()?;
        if let Node::Object(_, slot) = &mut self.nodes[target.0] {
            *slot = Some(state);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(pickle: &[u8]) -> Result<Document> {
        super::parse(&mut &pickle[..])
    }

    fn problem(pickle: &[u8]) -> String {
        parse(pickle).unwrap_err().to_string()
    }

    #[test]
    fn a_dictionary_is_shared_and_filled_after_it_is_kept() {
        // x = {}; x["a"] = [x, x]: kept before it is filled, as Python does.
        let document = parse(b"\x80\x02}q\x00X\x01\x00\x00\x00a](h\x00h\x00es.").unwrap();
        let Node::Dict(items) = document.root() else { panic!("{document:?}") };
        assert_eq!(document.get(items[0].0), &Node::Text("a".into()));
        let Node::List(list) = document.get(items[0].1) else { panic!("{document:?}") };
        assert!(list.iter().all(|&id| document.get(id) == document.root()));
    }

    #[test]
    fn integers_of_any_width_keep_their_sign() {
        let value = |pickle: &[u8]| parse(pickle).unwrap().root().clone();
        assert_eq!(value(b"\x80\x02K\xff."), Node::Int(255));
        assert_eq!(value(b"\x80\x02J\xfe\xff\xff\xff."), Node::Int(-2));
        assert_eq!(value(b"\x80\x02\x8a\x01\xfe."), Node::Int(-2));
        assert_eq!(value(b"\x80\x02\x8a\x02\xff\x00."), Node::Int(255));
        assert_eq!(value(b"\x80\x02\x8a\x00."), Node::Int(0));
        assert_eq!(value(b"\x80\x02\x8a\x09123456789."), Node::Opaque);
        assert_eq!(value(b"\x80\x02G\xbf\xf8\x00\x00\x00\x00\x00\x00."), Node::Float(-1.5));
    }

    #[test]
    fn what_python_would_call_is_named_and_not_called() {
        let document = parse(b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.").unwrap();
        assert_eq!(document.root(), &Node::Object("posix.system".into(), None));
        let stacked = b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.";
        assert_eq!(parse(stacked).unwrap().root(), &Node::Object("builtins.eval".into(), None));
    }

    #[test]
    fn what_an_object_would_be_made_of_stands_beside_it() {
        // a.b("c") with the state b"\xff", a string of Python 2 that is no text.
        let document = parse(b"\x80\x02ca\nb\nU\x01c\x85RU\x01\xffb.").unwrap();
        assert!(matches!(document.root(), Node::Object(name, Some(_)) if name == "a.b"));
        let Some(Node::Tuple(items)) = document.arguments(document.root).map(|id| document.get(id))
        else {
            panic!("{document:?}")
        };
        assert_eq!(document.get(items[0]), &Node::Text("c".into()));
        let state = document.state(document.root).map(|id| document.get(id));
        assert_eq!(state, Some(&Node::Bytes(vec![0xff])));
    }

    #[test]
    fn broken_pickles_say_where() {
        assert_eq!(problem(b"\x80\x02"), "at byte 2 of its pickle: it ends too early");
        assert_eq!(
            problem(b"\x80\x02(0."),
            "at byte 4 of its pickle: it takes a value where there is none"
        );
        assert_eq!(
            problem(b"\x80\x02h\x07."),
            "at byte 4 of its pickle: it recalls value 7, which it never kept"
        );
        assert_eq!(
            problem(b"\x80\x02I1\n."),
            "at byte 3 of its pickle: opcode 0x49, which torch.save does not write"
        );
        assert!(problem(b"(lp0\n.").contains("does not begin as a pickle of protocol 2"));
        // Four gigabytes of text, announced in seven bytes.
        assert!(problem(b"\x80\x02X\xff\xff\xff\xffa").contains("too many"));
        assert!(problem(b"\x80\x02NN.").contains("more than one value"));
    }

    #[test]
    fn depth_and_repetition_stay_within_bounds() {
        // [[[...]]], a hundred thousand deep.
        let mut deep = b"\x80\x02".to_vec();
        deep.extend(std::iter::repeat_n(b']', 100_000));
        deep.extend(std::iter::repeat_n(b'a', 99_999));
        deep.push(b'.');
        assert!(parse(&deep).is_ok());
        // Each tuple holds the one before twice: 2^60 leaves, were they copied.
        let mut wide = b"\x80\x02N".to_vec();
        wide.extend(std::iter::repeat_n(*b"2\x86", 60).flatten());
        wide.push(b'.');
        assert!(parse(&wide).is_ok());
        let mut endless = b"\x80\x02".to_vec();
        endless.extend(std::iter::repeat_n(b'N', MOST_STEPS + 1));
        assert!(problem(&endless).contains("more than"));
        // A dictionary of a hundred thousand items, copied a hundred times.
        let mut copies = b"\x80\x02}(".to_vec();
        copies.extend(std::iter::repeat_n(b'N', 200_000));
        copies.extend(b"uq\x00");
        copies.extend(b"ccollections\nOrderedDict\nh\x00\x85R0".repeat(100));
        copies.push(b'.');
        assert!(problem(&copies).contains("more than"));
    }

    /// Bytes that are opcodes more often than not.
    fn opcodes() -> impl Strategy<Value = Vec<u8>> {
        let known =
            b"\x80\x95(012NKMJG\x8a\x8b\x8cXC)\x85\x86\x87t]lae}dsuqr\x94hjc\x93R\x81\x92bQ\n.";
        prop::collection::vec(prop_oneof![prop::sample::select(&known[..]), any::<u8>()], 0..200)
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in opcodes()) {
            let mut pickle = b"\x80\x02".to_vec();
            pickle.extend(bytes);
            let _ = parse(&pickle);
        }
    }
}
