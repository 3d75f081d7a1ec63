// Decompose, order by combining class, compose.
#include "runtime/tokenizer/normalization_form.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "runtime/tokenizer/utf8.hpp"

namespace sluice {
namespace {

#include "runtime/tokenizer/unicode_tables.inc"

// Hangul syllables, by arithmetic (Unicode 15, section 3.12).
constexpr char32_t kSyllableFirst = 0xAC00, kLeadFirst = 0x1100, kVowelFirst = 0x1161,
                   kTailFirst = 0x11A7;
constexpr char32_t kLeads = 19, kVowels = 21, kTails = 28, kSyllables = kLeads * kVowels * kTails;

using Decompositions = std::unordered_map<char32_t, std::span<const std::uint32_t>>;

/// The tables above, to look things up in.
struct Lookup {
  Decompositions canonical = index(kCanonical);
  Decompositions compatible = index(kCompatible);
  std::unordered_map<char32_t, char32_t> compatible_single;
  std::unordered_map<std::uint64_t, char32_t> composed;
  std::unordered_map<char32_t, std::uint8_t> combining;

  Lookup() {
    for (std::size_t i = 0; i < std::size(kCompatibleRuns); i += 3) {
      for (char32_t c = kCompatibleRuns[i]; c <= kCompatibleRuns[i + 1]; ++c) {
        compatible_single[c] = kCompatibleRuns[i + 2] + c - kCompatibleRuns[i];
      }
    }
    for (std::size_t i = 0; i < std::size(kComposed); i += 3) {
      composed[pair(kComposed[i], kComposed[i + 1])] = kComposed[i + 2];
    }
    for (std::size_t i = 0; i < std::size(kCombining); i += 3) {
      for (char32_t c = kCombining[i]; c <= kCombining[i + 1]; ++c) {
        combining[c] = static_cast<std::uint8_t>(kCombining[i + 2]);
      }
    }
  }

  static std::uint64_t pair(char32_t first, char32_t second) {
    return std::uint64_t{first} << 32 | second;
  }

  static Decompositions index(std::span<const std::uint32_t> numbers) {
    Decompositions out;
    for (std::size_t i = 0; i < numbers.size(); i += 2 + numbers[i + 1]) {
      out[numbers[i]] = numbers.subspan(i + 2, numbers[i + 1]);
    }
    return out;
  }
};

const Lookup& lookup() {
  static const Lookup tables;
  return tables;
}

struct Character {
  char32_t code_point;
  std::uint8_t combining_class;
};
using Characters = std::vector<Character>;

void append(char32_t c, Characters& out) {
  const auto found = lookup().combining.find(c);
  out.push_back({c, found == lookup().combining.end() ? std::uint8_t{0} : found->second});
}

void append_decomposed(char32_t c, bool compatible, Characters& out) {
  if (c >= kSyllableFirst && c < kSyllableFirst + kSyllables) {
    const char32_t index = c - kSyllableFirst;
    append(kLeadFirst + index / (kVowels * kTails), out);
    append(kVowelFirst + index / kTails % kVowels, out);
    if (index % kTails != 0) append(kTailFirst + index % kTails, out);
    return;
  }
  const auto expand = [&](const Decompositions& table) {
    const auto found = table.find(c);
    if (found == table.end()) return false;
    for (const auto d : found->second) append(d, out);
    return true;
  };
  if (compatible) {
    const auto single = lookup().compatible_single.find(c);
    if (single != lookup().compatible_single.end()) return append(single->second, out);
    if (expand(lookup().compatible)) return;
  }
  if (!expand(lookup().canonical)) append(c, out);
}

Characters decompose(std::string_view text, bool compatible) {
  Characters out;
  out.reserve(text.size());
  std::size_t size = 0;
  for (; !text.empty(); text.remove_prefix(size)) {
    const char32_t c = utf8_front(text, size);
    c < 0xA0 ? out.push_back({c, 0}) : append_decomposed(c, compatible, out);
  }
  return out;
}

void order(Characters& characters) {
  const auto is_starter = [](const Character& c) { return c.combining_class == 0; };
  for (auto at = characters.begin(); at != characters.end();) {
    const auto begin = std::find_if_not(at, characters.end(), is_starter);
    at = std::find_if(begin, characters.end(), is_starter);
    std::stable_sort(begin, at, [](const Character& a, const Character& b) {
      return a.combining_class < b.combining_class;
    });
  }
}

std::optional<char32_t> composite(char32_t first, char32_t second) {
  if (first >= kLeadFirst && first < kLeadFirst + kLeads && second >= kVowelFirst &&
      second < kVowelFirst + kVowels) {
    return kSyllableFirst + ((first - kLeadFirst) * kVowels + second - kVowelFirst) * kTails;
  }
  if (first >= kSyllableFirst && first < kSyllableFirst + kSyllables &&
      (first - kSyllableFirst) % kTails == 0 && second > kTailFirst &&
      second < kTailFirst + kTails) {
    return first + second - kTailFirst;
  }
  const auto found = lookup().composed.find(Lookup::pair(first, second));
  return found == lookup().composed.end() ? std::nullopt : std::optional(found->second);
}

void compose(Characters& characters) {
  std::size_t kept = 0;
  std::optional<std::size_t> starter;
  for (const Character c : characters) {
    if (starter) {
      // Blocked where something between has the same class or a higher one.
      const bool adjacent = kept == *starter + 1;
      const bool blocked = !adjacent && characters[kept - 1].combining_class >= c.combining_class;
      const auto made =
          blocked ? std::nullopt : composite(characters[*starter].code_point, c.code_point);
      if (made) {
        characters[*starter].code_point = *made;
        continue;
      }
    }
    if (c.combining_class == 0) starter = kept;
    characters[kept++] = c;
  }
  characters.resize(kept);
}

}  // namespace

std::string to_normalization_form(std::string_view text, NormalizationForm form) {
  const bool ascii = std::all_of(text.begin(), text.end(), [](char c) { return c >= 0; });
  if (ascii) return std::string(text);
  Characters characters =
      decompose(text, form == NormalizationForm::kNfkc || form == NormalizationForm::kNfkd);
  order(characters);
  if (form == NormalizationForm::kNfc || form == NormalizationForm::kNfkc) compose(characters);
  std::string out;
  out.reserve(text.size());
  for (const Character c : characters) append_utf8(out, c.code_point);
  return out;
}

}  // namespace sluice
