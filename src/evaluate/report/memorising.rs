//! Whose images are nearest, in `index.html`.

use std::fmt::Write;

use super::TrainingFiles;
use super::figures::class_title;
use super::text::{escape, thousands, value_with_error};
use crate::evaluate::{Memorising, Memory};

/// A row for each class; `classes` in the order of the page.
pub(super) fn write(
    out: &mut String,
    found: &Memorising,
    training: Option<&TrainingFiles>,
    classes: &[&str],
) {
    let of = training.map_or(String::new(), |training| {
        let chosen = match training.selection.as_slice() {
            [] => String::new(),
            some => format!(", selected by <code>{}</code>", escape(&some.join(" "))),
        };
        format!(" (<code>{}</code>{chosen})", escape(&training.files))
    });
    let _ = writeln!(
        out,
        "<p class=\"note\">Of the training images{of} and as many true ones, which is nearest to a generated image: the share of \
         generated images whose nearest neighbour is a training image. 0.5 for a model that has memorised nothing, 1 for copies.</p>\n\
         <div class=\"scroll\"><table><thead><tr><th>Images</th><th></th><th>Share</th><th>Generated</th>\
         <th>Training images, and true ones</th><th>Ties</th></tr></thead><tbody>"
    );
    for class in classes {
        let title = class_title(class);
        match found.classes.get(*class) {
            None => {}
            Some(None) => {
                let why = found.reasons.get(*class);
                let why = why.map_or(String::new(), |why| format!(": {}", escape(why)));
                let _ = writeln!(
                    out,
                    "<tr><td>{title}</td><td colspan=\"5\">not available{why}</td></tr>"
                );
            }
            Some(Some(nearest)) => {
                let memory = nearest.memory();
                let style = match memory {
                    Memory::None => "good",
                    Memory::Some => "far",
                    Memory::Unlike => "fair",
                };
                let _ = writeln!(
                    out,
                    "<tr><td>{title}</td><td><span class=\"tag {style}\">{}</span></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                    memory.words(),
                    value_with_error(nearest.share, Some(nearest.error)),
                    thousands(nearest.generated),
                    thousands(nearest.references),
                    thousands(nearest.ties)
                );
            }
        }
    }
    out.push_str("</tbody></table></div>\n");
}
