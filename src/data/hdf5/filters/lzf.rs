//! LibLZF's format, which h5py writes with `compression="lzf"`.

/// Unpack `data`: at most `most` bytes.
pub(super) fn decode(data: &[u8], most: usize) -> Result<Vec<u8>, String> {
    let fail = || Err("lzf: it is damaged".to_string());
    let mut out = Vec::with_capacity(most);
    let mut rest = data;
    while let Some((&control, after)) = rest.split_first() {
        rest = after;
        if control < 32 {
            let Some((literal, after)) = rest.split_at_checked(usize::from(control) + 1) else {
                return fail();
            };
            out.extend_from_slice(literal);
            rest = after;
        } else {
            let mut length = usize::from(control >> 5);
            let mut next = || {
                let (&byte, after) = rest.split_first()?;
                rest = after;
                Some(usize::from(byte))
            };
            if length == 7 {
                let Some(more) = next() else { return fail() };
                length += more;
            }
            let Some(low) = next() else { return fail() };
            let distance = (usize::from(control & 31) << 8 | low) + 1;
            if !super::lz4::copy_back(&mut out, distance, length + 2, most) {
                return fail();
            }
        }
        if out.len() > most {
            return fail();
        }
    }
    Ok(out)
}
