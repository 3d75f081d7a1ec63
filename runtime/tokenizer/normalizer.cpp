// One small function a step.
#include "runtime/tokenizer/normalizer.hpp"

#include "runtime/tokenizer/byte_letters.hpp"
#include "runtime/tokenizer/utf8.hpp"

namespace sluice {
namespace {

using Text = Result<std::string>;

Text apply(const Normalizer::Prepend& step, std::string text, Regex::Scratch&) {
  return text.empty() ? text : step.prefix + text;
}

Text apply(const Normalizer::ReplaceLiteral& step, std::string text, Regex::Scratch&) {
  return replace_all(text, step.pattern, step.content);
}

Text apply(const Normalizer::Replace& step, std::string text, Regex::Scratch& scratch) {
  std::string out;
  SLUICE_TRY(step.pattern.split(text, scratch, [&](std::size_t begin, std::size_t end, bool match) {
    out +=
        match ? std::string_view(step.content) : std::string_view(text).substr(begin, end - begin);
  }));
  return out;
}

Text apply(const Normalizer::Strip& step, std::string text, Regex::Scratch&) {
  std::size_t size = 0, begin = 0, end = text.size();
  while (step.left && begin < end &&
         is_white_space(utf8_front(std::string_view(text).substr(begin), size))) {
    begin += size;
  }
  while (step.right && end > begin) {
    std::size_t last = end - 1;
    while ((static_cast<unsigned char>(text[last]) & 0xC0) == 0x80) --last;
    if (!is_white_space(utf8_front(std::string_view(text).substr(last), size))) break;
    end = last;
  }
  return text.substr(begin, end - begin);
}

Text apply(const Normalizer::ByteLetters&, std::string text, Regex::Scratch&) {
  std::string out;
  append_byte_letters(out, text);
  return out;
}

Text apply(NormalizationForm form, std::string text, Regex::Scratch&) {
  return to_normalization_form(text, form);
}

}  // namespace

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  std::size_t at = 0;
  for (std::size_t found; (found = text.find(from, at)) != std::string_view::npos;
       at = found + from.size()) {
    out += text.substr(at, found - at);
    out += to;
  }
  out += text.substr(at);
  return out;
}

Result<std::string> Normalizer::run(std::string text, Regex::Scratch& scratch) const {
  for (const Step& step : steps_) {
    SLUICE_ASSIGN(
        text, std::visit([&](const auto& s) { return apply(s, std::move(text), scratch); }, step));
  }
  return text;
}

}  // namespace sluice
