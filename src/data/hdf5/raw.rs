//! Values that an HDF5 file keeps in other files, without any structure there.

use std::fs::File;
use std::path::PathBuf;
use std::rc::Rc;

use super::links;
use super::source::Source;
use super::table::{Data, Table};
use crate::data::DataError;
use crate::data::flat::{Bytes, Flat, Piece};

impl Source {
    /// Find raw data that a data set keeps in other files, which HDF5 would fill up with zeros where they are short.
    pub(super) fn raw_data(
        &self,
        table: &mut Table,
        external: Vec<hdf5::dataset::ExternalFile>,
    ) -> Result<(), DataError> {
        let name = table.name.clone();
        let Some(element) = table.kind.plain else {
            return Err(self.fail(
                &name,
                format!("it holds {} in another file", table.kind.name),
                "write it again as integers or as floats of up to 64 bits",
            ));
        };
        let all =
            (table.shape.iter()).try_fold(element.bytes as u64, |a, n| a.checked_mul(*n as u64));
        let Some(mut rest) = all else {
            return Err(self.fail(&name, "its shape makes no sense", "write it again"));
        };
        let (mut pieces, mut bytes, mut files) = (Vec::new(), 0u64, Vec::new());
        for piece in external {
            // HDF5 looks where the program runs.
            let here = PathBuf::from(&piece.name);
            let path = Some(here).filter(|p| p.is_file());
            let Some(path) = path.or_else(|| links::beside(&self.path, &piece.name)) else {
                return Err(self.fail(
                    &name,
                    format!(
                        "its values are kept in '{}', which is not there",
                        piece.name
                    ),
                    "put that file beside this one",
                ));
            };
            let file = File::open(&path).map_err(|e| DataError::io("open", &path, e))?;
            let length = file
                .metadata()
                .map_err(|e| DataError::io("open", &path, e))?
                .len();
            let start = piece.offset as u64;
            // A size of 0 is that of all that is left.
            let size = match piece.size as u64 {
                0 => rest,
                n => n.min(rest),
            };
            if start.checked_add(size).is_none_or(|end| end > length) {
                return Err(self.fail(
                    &name,
                    format!(
                        "its values are kept in '{}', which ends after {length} bytes of {}",
                        path.display(),
                        start.saturating_add(size)
                    ),
                    "check that this file is complete",
                ));
            }
            rest -= size;
            bytes = bytes.saturating_add(length);
            files.push(format!("'{}'", path.display()));
            pieces.push(Piece {
                file: Rc::new(file),
                start,
                size,
            });
        }
        if rest > 0 {
            return Err(self.fail(
                &name,
                format!("its files leave out {rest} bytes"),
                "write it again",
            ));
        }
        table.bytes = bytes;
        table.from = Some(format!("values in {}", files.join(", ")));
        table.data = Data::Flat(Flat {
            shape: table.shape.clone(),
            element,
            fortran: false,
            bytes: Bytes::Pieces(pieces),
            sum: None,
        });
        Ok(())
    }
}
