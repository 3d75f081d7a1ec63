// Table 3-7 of the Unicode standard, "Well-Formed UTF-8 Byte Sequences", as code.
#include "runtime/tokenizer/utf8.hpp"

#include <cstring>

namespace sluice {
namespace {

struct Lead {
  std::size_t size;   ///< bytes of the whole character; 0: cannot start one
  unsigned char low;  ///< range of the second byte
  unsigned char high;
};

Lead lead_of(unsigned char byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

bool is_held_surrogate(std::string_view bytes) {
  return bytes.size() == 2 && static_cast<unsigned char>(bytes[0]) == 0xED &&
         static_cast<unsigned char>(bytes[1]) >= 0xA0 &&
         static_cast<unsigned char>(bytes[1]) <= 0xBF;
}

}  // namespace

Utf8Head utf8_head(std::string_view bytes) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const Lead lead = lead_of(byte(0));
  if (lead.size == 1) return {Utf8Head::Kind::kCharacter, 1, byte(0)};
  if (lead.size == 0) return {Utf8Head::Kind::kIllFormed, 1, 0};
  char32_t code_point = byte(0) & (0x7Fu >> lead.size);
  for (std::size_t i = 1; i < lead.size; ++i) {
    if (i == bytes.size()) return {Utf8Head::Kind::kUnfinished, i, 0};
    const bool fits =
        i == 1 ? byte(1) >= lead.low && byte(1) <= lead.high : (byte(i) & 0xC0) == 0x80;
    if (!fits) return {Utf8Head::Kind::kIllFormed, i, 0};
    code_point = code_point << 6 | (byte(i) & 0x3Fu);
  }
  return {Utf8Head::Kind::kCharacter, lead.size, code_point};
}

char32_t utf8_front(std::string_view text, std::size_t& size) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]) & 0x3Fu; };
  const auto lead = static_cast<unsigned char>(text[0]);
  if (lead < 0x80) return size = 1, lead;
  if (lead < 0xE0) return size = 2, (lead & 0x1Fu) << 6 | byte(1);
  if (lead < 0xF0) return size = 3, (lead & 0x0Fu) << 12 | byte(1) << 6 | byte(2);
  return size = 4, (lead & 0x07u) << 18 | byte(1) << 12 | byte(2) << 6 | byte(3);
}

void append_utf8(std::string& out, char32_t c) {
  const auto put = [&](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80) return put(c);
  if (c < 0x800) return put(0xC0 | c >> 6), put(0x80 | (c & 0x3F));
  if (c < 0x10000) {
    return put(0xE0 | c >> 12), put(0x80 | (c >> 6 & 0x3F)), put(0x80 | (c & 0x3F));
  }
  put(0xF0 | c >> 18), put(0x80 | (c >> 12 & 0x3F)), put(0x80 | (c >> 6 & 0x3F));
  put(0x80 | (c & 0x3F));
}

std::size_t utf8_valid_prefix(std::string_view bytes) {
  std::size_t at = 0;
  while (at < bytes.size()) {
    std::uint64_t eight;
    if (bytes.size() - at >= 8) {
      std::memcpy(&eight, bytes.data() + at, 8);
      if ((eight & 0x8080808080808080u) == 0) {
        at += 8;
        continue;
      }
    }
    const Utf8Head head = utf8_head(bytes.substr(at));
    if (head.kind != Utf8Head::Kind::kCharacter) return at;
    at += head.size;
  }
  return at;
}

std::string to_valid_utf8(std::string_view bytes) {
  std::string out;
  while (true) {
    const std::size_t valid = utf8_valid_prefix(bytes);
    out += bytes.substr(0, valid);
    bytes.remove_prefix(valid);
    if (bytes.empty()) return out;
    out += kReplacementCharacter;
    bytes.remove_prefix(utf8_head(bytes).size);
  }
}

bool is_white_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

void Utf8Stream::push(std::string_view bytes, std::string& out) {
  held_ += bytes;
  std::string_view rest = held_;
  while (!rest.empty() && !is_held_surrogate(rest)) {
    const Utf8Head head = utf8_head(rest);
    if (head.kind == Utf8Head::Kind::kUnfinished) break;
    out +=
        head.kind == Utf8Head::Kind::kCharacter ? rest.substr(0, head.size) : kReplacementCharacter;
    rest.remove_prefix(head.size);
  }
  held_.erase(0, held_.size() - rest.size());
}

void Utf8Stream::finish(std::string& out) {
  out += to_valid_utf8(held_);
  held_.clear();
}

}  // namespace sluice
