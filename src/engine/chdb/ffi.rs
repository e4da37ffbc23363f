//! The fence around `libchdb.so`: the only file of the engine with `unsafe`.
//!
//! In: the library's path, arguments, bytes. Out: [`Connection`]s and what they answer, as safe types that
//! own what the library gave them. The interface is declared by hand from the library's C header. None of
//! the types is `Send`: a connection lives and dies on the thread that opened it. What SQL means is not
//! known here.
#![expect(unsafe_code, reason = "calls the C interface of libchdb, which is opened at run time")]

use bytes::Bytes;
use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    marker::PhantomData,
    path::Path,
    ptr::NonNull,
    sync::{Mutex, PoisonError},
};

macro_rules! library {
    ($($field:ident: $type:ty = $name:literal;)*) => {
        /// The opened library. It is never closed again: its threads may outlive every connection.
        pub(super) struct Library {
            $($field: $type,)*
        }

        impl Library {
            fn load(path: &Path) -> Result<Library, libloading::Error> {
                // SAFETY: the file is the engine that the user installed or named; its initialisers are trusted
                // as the engine is. It is leaked, so that the function pointers below stay valid for ever.
                let opened: &'static _ = Box::leak(Box::new(unsafe { libloading::Library::new(path)? }));
                // SAFETY: each symbol has the type that the header of this version declares.
                unsafe { Ok(Library { $($field: *opened.get(concat!($name, "\0").as_bytes())?,)* }) }
            }
        }
    };
}

library! {
    signal_handlers: unsafe extern "C" fn(c_int) = "chdb_set_signal_handlers_enabled";
    connect: unsafe extern "C" fn(c_int, *mut *mut c_char) -> *mut Handle = "chdb_connect";
    close: unsafe extern "C" fn(*mut Handle) = "chdb_close_conn";
    query: QueryFn = "chdb_query_with_params_n";
    stream: QueryFn = "chdb_stream_query_with_params_n";
    fetch: unsafe extern "C" fn(Handle, *mut c_void) -> *mut c_void = "chdb_stream_fetch_result";
    cancel: unsafe extern "C" fn(Handle, *mut c_void) = "chdb_stream_cancel_query";
    destroy: unsafe extern "C" fn(*mut c_void) = "chdb_destroy_query_result";
    buffer: unsafe extern "C" fn(*mut c_void) -> Text = "chdb_result_buffer";
    length: unsafe extern "C" fn(*mut c_void) -> usize = "chdb_result_length";
    error: unsafe extern "C" fn(*mut c_void) -> *const c_char = "chdb_result_error";
    result_rows: unsafe extern "C" fn(*mut c_void) -> u64 = "chdb_result_rows_read";
    storage_rows: unsafe extern "C" fn(*mut c_void) -> u64 = "chdb_result_storage_rows_read";
    storage_bytes: unsafe extern "C" fn(*mut c_void) -> u64 = "chdb_result_storage_bytes_read";
    rows_written: unsafe extern "C" fn(*mut c_void) -> u64 = "chdb_result_rows_written";
    insert: unsafe extern "C" fn(Handle, Text, usize, Text, usize) -> *mut c_void = "chdb_stream_insert_n";
    append: unsafe extern "C" fn(*mut c_void, Text, usize) -> c_int = "chdb_stream_append";
    done: unsafe extern "C" fn(*mut c_void) -> *mut c_void = "chdb_stream_done";
    insert_error: unsafe extern "C" fn(*mut c_void) -> *const c_char = "chdb_stream_insert_error";
    destroy_insert: unsafe extern "C" fn(*mut c_void) = "chdb_destroy_insert_stream";
    classify: unsafe extern "C" fn(Handle, Text, usize, Text, usize, *mut Analysis) -> c_int = "chdb_classify_query_n";
}

/// `chdb_connection` of the header.
type Handle = *mut c_void;
/// A text that is not terminated: its length stands beside it.
type Text = *const u8;
type Texts = *const Text;
type Lengths = *const usize;

/// `chdb_query_with_params_n` and its streaming twin.
type QueryFn =
    unsafe extern "C" fn(Handle, Text, usize, Text, usize, Texts, Lengths, Texts, Lengths, usize) -> *mut c_void;

/// `chdb_query_analysis_v1`: what a text would do, judged by the engine's own parser.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Analysis {
    struct_size: u32,
    pub(super) statements: u32,
    flags: u32,
    /// 0 is a read; the header lists the rest.
    pub(super) class: u32,
}

/// An open connection. One statement at a time, on the thread that opened it.
pub(super) struct Connection {
    library: &'static Library,
    /// What `chdb_connect` gave: points to the handle until `chdb_close_conn` takes it back.
    handle: NonNull<Handle>,
}

/// A whole answer or one chunk of it.
pub(super) struct Answer<'c> {
    library: &'static Library,
    result: *mut c_void,
    connection: PhantomData<&'c mut Connection>,
}

/// Names and values of a statement's parameters.
type Parameters = [(String, String)];

/// A running read. Dropping it ends the query.
pub(super) struct Stream<'c> {
    connection: &'c mut Connection,
    result: *mut c_void,
}

/// The engine takes its time zone from the process, so it is set here, at the start of `main`. Once there are
/// several threads this does nothing; opening the engine checks the zone.
///
/// The library looks for the kernel's auxiliary vector behind the environment, where it is at first: it cannot
/// read `/proc` from its sandbox. Setting a variable moves the environment, so a copy of the vector goes along.
pub(super) fn set_time_zone() {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    let vector = std::fs::read("/proc/self/auxv").unwrap_or_default();
    if threads == 1 && std::env::var_os("TZ").is_none_or(|it| it != "UTC") {
        let words =
            vector.chunks_exact(size_of::<usize>()).filter_map(|it| Some(usize::from_ne_bytes(it.try_into().ok()?)));
        // SAFETY: no other thread can read or write the environment meanwhile; it is a list of pointers that ends
        // with null, and so is the new one, which lives for ever.
        unsafe {
            std::env::set_var("TZ", "UTC");
            let count = (0..).take_while(|it| !(*environ.add(*it)).is_null()).count();
            let old = std::slice::from_raw_parts(environ, count).iter().copied();
            let moved = old.chain([std::ptr::null_mut()]).chain(words.map(std::ptr::without_provenance_mut));
            environ = moved.chain([std::ptr::null_mut(); 2]).collect::<Vec<*mut c_char>>().leak().as_mut_ptr();
        }
    }
}

unsafe extern "C" {
    static mut environ: *mut *mut c_char;
}

impl Library {
    /// Opens the library, once for the process: a second call gives the first one's.
    pub(super) fn open(path: &Path) -> Result<&'static Library, String> {
        static OPENED: Mutex<Option<&'static Library>> = Mutex::new(None);
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(library) = *opened {
            return Ok(library);
        }
        let library = Box::leak(Box::new(Library::load(path).map_err(|error| error.to_string())?));
        // SAFETY: takes any integer, and is called before the first connect, as the header asks: the engine's
        // handlers would keep a crashed process hanging.
        unsafe { (library.signal_handlers)(0) };
        Ok(opened.insert(library))
    }

    /// Opens a connection; the library tells the reason of a failure to stderr alone.
    pub(super) fn connect(&'static self, arguments: &[String]) -> Option<Connection> {
        let arguments = std::iter::once("clickhouse").chain(arguments.iter().map(String::as_str));
        let arguments = arguments.map(CString::new).collect::<Result<Vec<_>, _>>().ok()?;
        let mut pointers: Vec<*mut c_char> = arguments.iter().map(|it| it.as_ptr().cast_mut()).collect();
        let count = c_int::try_from(pointers.len()).ok()?;
        // SAFETY: `count` pointers to terminated strings, which outlive the call; it copies them.
        let handle = unsafe { (self.connect)(count, pointers.as_mut_ptr()) };
        NonNull::new(handle).map(|handle| Connection { library: self, handle })
    }
}

impl Connection {
    /// Runs one statement and waits for its whole answer.
    pub(super) fn query(&mut self, sql: &str, format: &str, parameters: &Parameters) -> Answer<'_> {
        let result = self.run(self.library.query, sql, format, parameters);
        Answer { library: self.library, result, connection: PhantomData }
    }

    /// Starts a read whose answer is fetched in chunks.
    pub(super) fn stream(&mut self, sql: &str, format: &str, parameters: &Parameters) -> Result<Stream<'_>, String> {
        let result = self.run(self.library.stream, sql, format, parameters);
        let answer = Answer { library: self.library, result, connection: PhantomData };
        if let Some(error) = answer.error() {
            return Err(error);
        }
        std::mem::forget(answer);
        Ok(Stream { connection: self, result })
    }

    /// Inserts bytes of a format, all or none of them; gives the rows written, views included.
    pub(super) fn insert(&mut self, head: &str, format: &str, parts: &[Bytes]) -> Result<u64, String> {
        let it = self.library;
        // SAFETY: an open connection; two texts with their lengths, which are copied. It gives a stream always.
        let stream = unsafe { (it.insert)(self.raw(), head.as_ptr(), head.len(), format.as_ptr(), format.len()) };
        // SAFETY: a live stream, whose text lives as long as it.
        let error = || unsafe { text((it.insert_error)(stream)) };
        // SAFETY: a live stream; the bytes are copied.
        let append = |part: &Bytes| unsafe { (it.append)(stream, part.as_ptr(), part.len()) };
        let written = if error().is_some() || parts.iter().any(|it| append(it) != 0) {
            Err(error().unwrap_or_else(|| "the insert has failed".to_owned()))
        } else {
            // SAFETY: a live stream, finished once.
            let result = unsafe { (it.done)(stream) };
            let answer = Answer { library: it, result, connection: PhantomData };
            answer.error().or_else(error).map_or_else(|| Ok(answer.counts()[3]), Err)
        };
        // SAFETY: destroyed once; an unfinished stream is cancelled by it.
        unsafe { (it.destroy_insert)(stream) };
        written
    }

    /// Asks the engine's parser what a text is; nothing is run.
    pub(super) fn classify(&mut self, text: &str) -> Analysis {
        let mut analysis = Analysis { struct_size: size_of::<Analysis>() as u32, class: 4, ..Analysis::default() };
        // SAFETY: a text with its length, no target database, and a struct of the size that it states.
        unsafe {
            (self.library.classify)(self.raw(), text.as_ptr(), text.len(), std::ptr::null(), 0, &raw mut analysis)
        };
        analysis
    }

    fn run(&mut self, function: QueryFn, sql: &str, format: &str, parameters: &Parameters) -> *mut c_void {
        let names: Vec<_> = parameters.iter().map(|(name, _)| name.as_ptr()).collect();
        let name_lengths: Vec<_> = parameters.iter().map(|(name, _)| name.len()).collect();
        let values: Vec<_> = parameters.iter().map(|(_, value)| value.as_ptr()).collect();
        let value_lengths: Vec<_> = parameters.iter().map(|(_, value)| value.len()).collect();
        // SAFETY: an open connection; each text has its length beside it, the four arrays have
        // `parameters.len()` entries, and the library keeps none of them after the call.
        unsafe {
            function(
                self.raw(),
                sql.as_ptr(),
                sql.len(),
                format.as_ptr(),
                format.len(),
                names.as_ptr(),
                name_lengths.as_ptr(),
                values.as_ptr(),
                value_lengths.as_ptr(),
                parameters.len(),
            )
        }
    }

    fn raw(&self) -> Handle {
        // SAFETY: `chdb_connect` gave the pointer, and it is valid until `chdb_close_conn` in `drop`.
        unsafe { *self.handle.as_ptr() }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: closed once, by the owning thread, with no stream open (streams borrow the connection).
        unsafe { (self.library.close)(self.handle.as_ptr()) };
    }
}

impl Answer<'_> {
    pub(super) fn error(&self) -> Option<String> {
        if self.result.is_null() {
            return Some("the engine gave no result".to_owned());
        }
        // SAFETY: a live result; the text is terminated and lives as long as the result.
        unsafe { text((self.library.error)(self.result)) }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: a live result, whose buffer has this length and lives as long as it, or null, which has none.
        unsafe {
            let (buffer, length) = ((self.library.buffer)(self.result), (self.library.length)(self.result));
            if buffer.is_null() { &[] } else { std::slice::from_raw_parts(buffer, length) }
        }
    }

    /// Rows of the answer, rows and bytes read from storage, rows written.
    pub(super) fn counts(&self) -> [u64; 4] {
        let it = self.library;
        // SAFETY: a live result, or null, which counts nothing.
        [it.result_rows, it.storage_rows, it.storage_bytes, it.rows_written].map(|count| unsafe { count(self.result) })
    }
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        // SAFETY: destroyed once; null is allowed.
        unsafe { (self.library.destroy)(self.result) };
    }
}

impl Stream<'_> {
    /// The next chunk: empty at the end, an error once the query has failed.
    pub(super) fn fetch(&mut self) -> Answer<'_> {
        let library = self.connection.library;
        // SAFETY: an open connection and its live stream.
        let result = unsafe { (library.fetch)(self.connection.raw(), self.result) };
        Answer { library, result, connection: PhantomData }
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        // SAFETY: the owning thread, between fetches: cancelling an ended stream does nothing, and the handle
        // is destroyed once.
        unsafe {
            (self.connection.library.cancel)(self.connection.raw(), self.result);
            (self.connection.library.destroy)(self.result);
        }
    }
}

/// A C text as a string of ours; nothing for null or an empty one.
///
/// # Safety
/// `pointer` is null or points to a terminated text.
unsafe fn text(pointer: *const c_char) -> Option<String> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: not null; the caller vouches for the rest.
    let text = unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned();
    (!text.is_empty()).then_some(text)
}
