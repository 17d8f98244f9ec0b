//! `sarm plot`: one sample of images, as a picture or as text.

use crate::support::program::{DC, Lab};

#[test]
fn a_file_and_a_model_are_shown_as_text_where_no_picture_is_asked_for() {
    let lab = Lab::trained(DC);
    for source in ["data.h5", "run/model.safetensors --count 200 --seed 3"] {
        let text = String::from_utf8(lab.ok(&format!("plot {source}")).stdout).unwrap();
        let count = if source.starts_with("data") { 300 } else { 200 };
        assert!(
            text.starts_with(&format!("{count} images of 7 x 7")),
            "{text}"
        );
        for part in [
            "median",
            "average",
            "image 0",
            "pixels per image and factor of ten",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        // Nobody's terminal: no colours.
        assert!(!text.contains('\x1b'), "{text}");
    }
    let some = String::from_utf8(lab.ok("plot data.h5 --select row=10..19").stdout).unwrap();
    assert!(some.starts_with("10 images"), "{some}");
}

#[test]
fn pictures_are_what_their_names_say() {
    let lab = Lab::new();
    lab.ok("plot data.h5 --out page.png");
    lab.ok("plot data.h5 --out page.svg");
    assert!(
        std::fs::read(lab.path("page.png"))
            .unwrap()
            .starts_with(b"\x89PNG\r\n")
    );
    let svg = std::fs::read_to_string(lab.path("page.svg")).unwrap();
    for part in [
        "<svg ",
        "300 images",
        "Average of 300 images",
        "Sum of an image",
    ] {
        assert!(svg.contains(part), "{part}");
    }
    lab.refuses("plot data.h5 --out page.png", &["page.png", "--force"]);
    lab.refuses("plot data.h5 --out page.jpg", &["page.jpg", ".png or .svg"]);
    lab.refuses("plot data.h5 --given signal=1", &["data.h5", "--select"]);
    lab.refuses("plot jets-w --select signal=1", &["jets-w", "--given"]);
}
