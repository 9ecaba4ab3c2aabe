//! A page's content stream: which glyphs it shows, and where.
//!
//! Only what moves text is followed: matrices, the text state, forms within forms. Colours, paths and
//! pictures are passed over, and with them the decoders that they need.

use std::sync::Arc;

use hayro_cmap::{BfString, load_embedded};
use hayro_font::kurbo::{Affine, Vec2};
use hayro_font::{
    CMapResolverFn, Font, FontCache, FontGlyph, FontQuery, FontResolverFn, StandardFont,
    UNITS_PER_EM,
};
use hayro_syntax::content::TypedIter;
use hayro_syntax::content::ops::TypedInstruction;
use hayro_syntax::object::dict::keys::{MATRIX, RESOURCES, SUBTYPE};
use hayro_syntax::object::{Dict, Name, Object, Stream};
use hayro_syntax::page::{Page, Resources};

use crate::PdfError;

/// How deep forms may hold forms.
const MAX_FORM_DEPTH: usize = 12;
/// How many states a page may have saved; more is nothing that a person made.
const MAX_SAVED: usize = 256;
/// Glyphs smaller than this, in points, are not there to be read.
const MIN_SIZE: f64 = 1.0;

/// A character on a page. Lengths are points; `y` grows upwards.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Glyph {
    /// What it says; ligatures say several characters.
    pub text: BfString,
    /// Where it begins, on its baseline.
    pub x: f64,
    /// Its baseline.
    pub y: f64,
    /// Where the next one would begin.
    pub end: Vec2,
    /// The size of its font as it appears.
    pub size: f64,
}

/// Reads pages, with what they share.
pub(crate) struct Content<'a> {
    fonts: FontCache<'a>,
    font_data: FontResolverFn,
    cmaps: CMapResolverFn,
    operators_left: usize,
}

#[derive(Clone)]
struct State<'a> {
    /// User space to the page.
    matrix: Affine,
    font: Option<Font<'a>>,
    font_size: f64,
    char_space: f64,
    word_space: f64,
    /// 1 is the natural width.
    stretch: f64,
    leading: f64,
    rise: f64,
}

/// One content stream while it is read.
struct Pass<'a> {
    state: State<'a>,
    saved: Vec<State<'a>>,
    /// Text space to user space: of the next glyph, and of the line's beginning.
    text: Affine,
    line: Affine,
}

impl<'a> Content<'a> {
    pub(crate) fn new(operators: usize) -> Self {
        Content {
            fonts: FontCache::new(),
            font_data: Arc::new(|query| match query {
                FontQuery::Standard(font) => Some(font.get_font_data()),
                FontQuery::Fallback(query) => Some(query.pick_standard_font().get_font_data()),
            }),
            cmaps: Arc::new(load_embedded),
            operators_left: operators,
        }
    }

    /// The glyphs of a page in the order in which it draws them; those outside of it are left out.
    pub(crate) fn glyphs_of(&mut self, page: &'a Page<'a>) -> Result<Vec<Glyph>, PdfError> {
        let state = State {
            matrix: Affine::new(page.initial_transform(false).as_coeffs()),
            font: None,
            font_size: 1.0,
            char_space: 0.0,
            word_space: 0.0,
            stretch: 1.0,
            leading: 0.0,
            rise: 0.0,
        };
        let mut glyphs = Vec::new();
        let operations = page.typed_operations();
        self.read(operations, page.resources(), state, 0, &mut glyphs)?;
        let (width, height) = page.render_dimensions();
        let (width, height) = (f64::from(width), f64::from(height));
        glyphs
            .retain(|glyph| (0.0..=width).contains(&glyph.x) && (0.0..=height).contains(&glyph.y));
        Ok(glyphs)
    }

    fn read(
        &mut self,
        mut operations: TypedIter<'_>,
        resources: &Resources<'a>,
        state: State<'a>,
        depth: usize,
        glyphs: &mut Vec<Glyph>,
    ) -> Result<(), PdfError> {
        let mut pass = Pass {
            state,
            saved: Vec::new(),
            text: Affine::IDENTITY,
            line: Affine::IDENTITY,
        };
        while let Some(operation) = operations.next() {
            self.operators_left = self
                .operators_left
                .checked_sub(1)
                .ok_or_else(|| PdfError::TooMuch("drawing operators".to_owned()))?;
            match operation {
                TypedInstruction::TextFont(font) => {
                    pass.state.font = self.font(resources, font.0);
                    pass.state.font_size = font.1.as_f64();
                }
                TypedInstruction::ShowText(shown) => pass.show(shown.0.as_bytes(), glyphs),
                TypedInstruction::ShowTexts(shown) => {
                    for part in shown.0.iter::<Object<'_>>() {
                        match part {
                            Object::Number(back) => pass.shift(-back.as_f64()),
                            Object::String(text) => pass.show(text.as_bytes(), glyphs),
                            _ => {}
                        }
                    }
                }
                TypedInstruction::NextLineAndShowText(shown) => {
                    pass.next_line();
                    pass.show(shown.0.as_bytes(), glyphs);
                }
                TypedInstruction::ShowTextWithParameters(shown) => {
                    pass.state.word_space = shown.0.as_f64();
                    pass.state.char_space = shown.1.as_f64();
                    pass.next_line();
                    pass.show(shown.2.as_bytes(), glyphs);
                }
                TypedInstruction::XObject(name) if depth < MAX_FORM_DEPTH => {
                    if let Some(form) = resources.get_x_object(name.0) {
                        self.read_form(&form, resources, &pass.state, depth, glyphs)?;
                    }
                }
                other => pass.follow(&other),
            }
        }
        Ok(())
    }

    /// The text of a form, which is a content stream of its own.
    fn read_form(
        &mut self,
        form: &Stream<'a>,
        resources: &Resources<'a>,
        state: &State<'a>,
        depth: usize,
        glyphs: &mut Vec<Glyph>,
    ) -> Result<(), PdfError> {
        let dict = form.dict();
        let is_form = dict
            .get::<Name<'_>>(SUBTYPE)
            .is_some_and(|kind| &*kind == b"Form");
        let Some(content) = is_form.then(|| form.decoded_data().ok()).flatten() else {
            return Ok(());
        };
        let own = dict.get::<Dict<'a>>(RESOURCES).map(Resources::new);
        let matrix = dict.get::<[f64; 6]>(MATRIX).map(Affine::new);
        let mut state = state.clone();
        state.matrix *= matrix.unwrap_or(Affine::IDENTITY);
        let operations = TypedIter::new(content.as_ref());
        let resources = own.as_ref().unwrap_or(resources);
        self.read(operations, resources, state, depth + 1, glyphs)
    }

    /// The font of this name; where a page names none of its own, viewers take Helvetica.
    fn font(&self, resources: &Resources<'a>, name: &Name<'_>) -> Option<Font<'a>> {
        match resources.get_font(name) {
            Some(dict) => self.fonts.font(&dict, &self.font_data, &self.cmaps),
            None => self
                .fonts
                .standard_font(StandardFont::Helvetica, &self.font_data),
        }
    }
}

impl Pass<'_> {
    /// Operators that move text without showing any.
    fn follow(&mut self, operation: &TypedInstruction<'_, '_>) {
        match operation {
            TypedInstruction::SaveState(_) if self.saved.len() < MAX_SAVED => {
                self.saved.push(self.state.clone());
            }
            TypedInstruction::RestoreState(_) => {
                if let Some(state) = self.saved.pop() {
                    self.state = state;
                }
            }
            TypedInstruction::Transform(m) => {
                let by = [&m.0, &m.1, &m.2, &m.3, &m.4, &m.5].map(|number| number.as_f64());
                self.state.matrix *= Affine::new(by);
            }
            TypedInstruction::BeginText(_) => self.set_line(Affine::IDENTITY),
            TypedInstruction::SetTextMatrix(m) => {
                let to = [&m.0, &m.1, &m.2, &m.3, &m.4, &m.5].map(|number| number.as_f64());
                self.set_line(Affine::new(to));
            }
            TypedInstruction::NextLine(by) => self.move_line(by.0.as_f64(), by.1.as_f64()),
            TypedInstruction::NextLineAndSetLeading(by) => {
                self.state.leading = -by.1.as_f64();
                self.move_line(by.0.as_f64(), by.1.as_f64());
            }
            TypedInstruction::NextLineUsingLeading(_) => self.next_line(),
            TypedInstruction::CharacterSpacing(by) => self.state.char_space = by.0.as_f64(),
            TypedInstruction::WordSpacing(by) => self.state.word_space = by.0.as_f64(),
            TypedInstruction::HorizontalScaling(to) => self.state.stretch = to.0.as_f64() / 100.0,
            TypedInstruction::TextLeading(by) => self.state.leading = by.0.as_f64(),
            TypedInstruction::TextRise(by) => self.state.rise = by.0.as_f64(),
            _ => {}
        }
    }

    fn set_line(&mut self, line: Affine) {
        self.line = line;
        self.text = line;
    }

    fn move_line(&mut self, x: f64, y: f64) {
        self.set_line(self.line * Affine::translate((x, y)));
    }

    fn next_line(&mut self) {
        self.move_line(0.0, -self.state.leading);
    }

    /// Moves on by `thousandths` of the font's size.
    fn shift(&mut self, thousandths: f64) {
        let by = thousandths / f64::from(UNITS_PER_EM) * self.state.font_size;
        let is_horizontal = self.state.font.as_ref().is_none_or(Font::is_horizontal);
        let by = match is_horizontal {
            true => (by * self.state.stretch, 0.0),
            false => (0.0, by),
        };
        self.text *= Affine::translate(by);
    }

    fn show(&mut self, bytes: &[u8], glyphs: &mut Vec<Glyph>) {
        let Some(font) = self.state.font.clone() else {
            return;
        };
        let mut at = 0;
        while at < bytes.len() {
            let (code, length) = font.read_code(bytes, at);
            at += length.max(1);
            let place = self.state.matrix * self.text * Affine::translate((0.0, self.state.rise));
            self.advance(&font, code, length);
            let end = self.state.matrix * self.text * Affine::translate((0.0, self.state.rise));
            // The determinant's root is how much the matrices enlarge, whatever way they turn.
            let size = self.state.font_size.abs() * place.determinant().abs().sqrt();
            let (from, to) = (place.translation(), end.translation());
            if let Some(text) = unicode(&font, code)
                && size >= MIN_SIZE
                && from.is_finite()
                && to.is_finite()
            {
                glyphs.push(Glyph {
                    text,
                    x: from.x,
                    y: from.y,
                    end: to,
                    size,
                });
            }
        }
    }

    fn advance(&mut self, font: &Font<'_>, code: u32, length: usize) {
        let is_blank = code == 32 && length == 1;
        let word_space = if is_blank { self.state.word_space } else { 0.0 };
        let width = font.code_advance(code) / f64::from(UNITS_PER_EM) * self.state.font_size;
        let space = self.state.char_space + word_space;
        let by = match font.is_horizontal() {
            true => ((width.x + space) * self.state.stretch, 0.0),
            false => (0.0, width.y + space),
        };
        self.text *= Affine::translate(by);
    }
}

fn unicode(font: &Font<'_>, code: u32) -> Option<BfString> {
    match font.glyph(font.map_code(code), code) {
        FontGlyph::Outline(glyph) => glyph.as_unicode(),
        FontGlyph::Type3(glyph) => glyph.as_unicode(),
    }
}
