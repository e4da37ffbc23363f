//! The engine without birdhouse around it: what the figures are measured against.
#![expect(unsafe_code, reason = "calls the engine's C interface directly, as a program without birdhouse would")]

use std::{
    ffi::{CString, c_char, c_int, c_void},
    path::Path,
};

type Handle = *mut c_void;

/// The functions of the opened library.
#[derive(Clone, Copy)]
pub(crate) struct Raw {
    connect: unsafe extern "C" fn(c_int, *mut *mut c_char) -> *mut Handle,
    close: unsafe extern "C" fn(*mut Handle),
    query: unsafe extern "C" fn(Handle, *const u8, usize, *const u8, usize) -> *mut c_void,
    insert: unsafe extern "C" fn(Handle, *const u8, usize, *const u8, usize) -> *mut c_void,
    append: unsafe extern "C" fn(*mut c_void, *const u8, usize) -> c_int,
    done: unsafe extern "C" fn(*mut c_void) -> *mut c_void,
    destroy_insert: unsafe extern "C" fn(*mut c_void),
    buffer: unsafe extern "C" fn(*mut c_void) -> *const u8,
    length: unsafe extern "C" fn(*mut c_void) -> usize,
    error: unsafe extern "C" fn(*mut c_void) -> *const c_char,
    written: unsafe extern "C" fn(*mut c_void) -> u64,
    destroy: unsafe extern "C" fn(*mut c_void),
}

/// A connection of its own.
pub(crate) struct Connection {
    raw: Raw,
    handle: *mut Handle,
}

impl Raw {
    pub(crate) fn open(library: &Path) -> Raw {
        // SAFETY: the engine's own library, with the types of its header; it stays open for ever.
        unsafe {
            let library = Box::leak(Box::new(libloading::Library::new(library).unwrap()));
            let handlers: libloading::Symbol<'_, unsafe extern "C" fn(c_int)> =
                library.get(b"chdb_set_signal_handlers_enabled\0").unwrap();
            handlers(0);
            Raw {
                connect: *library.get(b"chdb_connect\0").unwrap(),
                close: *library.get(b"chdb_close_conn\0").unwrap(),
                query: *library.get(b"chdb_query_n\0").unwrap(),
                insert: *library.get(b"chdb_stream_insert_n\0").unwrap(),
                append: *library.get(b"chdb_stream_append\0").unwrap(),
                done: *library.get(b"chdb_stream_done\0").unwrap(),
                destroy_insert: *library.get(b"chdb_destroy_insert_stream\0").unwrap(),
                buffer: *library.get(b"chdb_result_buffer\0").unwrap(),
                length: *library.get(b"chdb_result_length\0").unwrap(),
                error: *library.get(b"chdb_result_error\0").unwrap(),
                written: *library.get(b"chdb_result_rows_written\0").unwrap(),
                destroy: *library.get(b"chdb_destroy_query_result\0").unwrap(),
            }
        }
    }

    pub(crate) fn connect(self, arguments: &[String]) -> Connection {
        let arguments: Vec<_> = std::iter::once("clickhouse".to_owned())
            .chain(arguments.iter().cloned())
            .map(|it| CString::new(it).unwrap())
            .collect();
        let mut pointers: Vec<_> = arguments.iter().map(|it| it.as_ptr().cast_mut()).collect();
        // SAFETY: as many terminated texts as said.
        let handle = unsafe { (self.connect)(pointers.len() as c_int, pointers.as_mut_ptr()) };
        assert!(!handle.is_null(), "the raw engine did not start");
        Connection { raw: self, handle }
    }
}

impl Connection {
    /// Runs a statement and gives its whole answer.
    pub(crate) fn query(&mut self, sql: &str, format: &str) -> Vec<u8> {
        // SAFETY: an open connection, two texts with their lengths, a result destroyed once.
        unsafe {
            let result = (self.raw.query)(*self.handle, sql.as_ptr(), sql.len(), format.as_ptr(), format.len());
            self.taken(result, sql).0
        }
    }

    /// Inserts one block in Native format.
    pub(crate) fn insert(&mut self, head: &str, block: &[u8]) -> u64 {
        // SAFETY: an open connection, texts with their lengths, a stream finished and destroyed once.
        unsafe {
            let stream = (self.raw.insert)(*self.handle, head.as_ptr(), head.len(), b"Native".as_ptr(), 6);
            assert_eq!((self.raw.append)(stream, block.as_ptr(), block.len()), 0);
            let result = (self.raw.done)(stream);
            let (_, written) = self.taken(result, head);
            (self.raw.destroy_insert)(stream);
            written
        }
    }

    /// # Safety
    /// `result` is a live result of this connection's library, not destroyed elsewhere.
    unsafe fn taken(&self, result: *mut c_void, sql: &str) -> (Vec<u8>, u64) {
        // SAFETY: the caller vouches for the result; its texts and bytes live as long as it.
        unsafe {
            let error = (self.raw.error)(result);
            assert!(error.is_null(), "{sql}: {:?}", std::ffi::CStr::from_ptr(error));
            let (buffer, length) = ((self.raw.buffer)(result), (self.raw.length)(result));
            let bytes = if buffer.is_null() { Vec::new() } else { std::slice::from_raw_parts(buffer, length).to_vec() };
            let written = (self.raw.written)(result);
            (self.raw.destroy)(result);
            (bytes, written)
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: closed once, on the thread that opened it.
        unsafe { (self.raw.close)(self.handle) };
    }
}
