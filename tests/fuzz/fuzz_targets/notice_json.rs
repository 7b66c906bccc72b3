#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    valise_fuzz::notice_json(bytes);
});
