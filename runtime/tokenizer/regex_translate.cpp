// Oniguruma (Ruby syntax, as the tokenizers library uses it) to PCRE2.
#include <array>
#include <cctype>
#include <vector>

#include "runtime/tokenizer/regex.hpp"

namespace sluice {
namespace {

// White_Space; PCRE2's \s also takes U+180E.
constexpr std::string_view kSpace =
    R"(\x09-\x0d\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kNotSpace =
    R"(\x{0}-\x{8}\x{e}-\x{1f}\x{21}-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff})"
    R"(\x{200b}-\x{2027}\x{202a}-\x{202e}\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{d7ff}\x{e000}-\x{10ffff})";
// Alphabetic, marks, decimal digits, connectors. Outside of classes \w also has the other numbers
// of Latin-1.
constexpr std::string_view kWord =
    R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{24b6}-\x{24e9}\x{1f130}-\x{1f149}\x{1f150}-\x{1f169}\x{1f170}-\x{1f189})";
constexpr std::string_view kLatinNumbers = R"(\x{b2}\x{b3}\x{b9}\x{bc}-\x{be})";
constexpr std::string_view kHexadecimal = "0-9A-Fa-f";

struct PropertyName {
  std::string_view theirs;  ///< lower case, no separators
  std::string_view ours;
};
constexpr std::array kProperties = {
    PropertyName{"letter", "L"},
    PropertyName{"mark", "M"},
    PropertyName{"number", "N"},
    PropertyName{"punctuation", "P"},
    PropertyName{"symbol", "S"},
    PropertyName{"separator", "Z"},
    PropertyName{"other", "C"},
    PropertyName{"uppercaseletter", "Lu"},
    PropertyName{"lowercaseletter", "Ll"},
    PropertyName{"titlecaseletter", "Lt"},
    PropertyName{"modifierletter", "Lm"},
    PropertyName{"otherletter", "Lo"},
    PropertyName{"decimalnumber", "Nd"},
    PropertyName{"letternumber", "Nl"},
    PropertyName{"othernumber", "No"},
    PropertyName{"connectorpunctuation", "Pc"},
    PropertyName{"digit", "Nd"},
    PropertyName{"alpha", "Alphabetic"},
    PropertyName{"upper", "Uppercase"},
    PropertyName{"lower", "Lowercase"},
    PropertyName{"space", "White_Space"},
    PropertyName{"any", "Any"},
};
// Names that PCRE2 knows by themselves and that are not scripts.
constexpr std::array<std::string_view, 8> kBinaryProperties = {
    "alphabetic", "uppercase", "lowercase", "whitespace", "ideographic", "emoji", "dash", "math"};

std::string simplified(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (c != '_' && c != ' ' && c != '-') {
      out.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
    }
  }
  return out;
}

/// \p{name} or \P{name}: general categories and binary properties as they are, others as scripts.
std::string property(std::string_view name, bool negated) {
  if (name.starts_with('^')) {
    name.remove_prefix(1);
    negated = !negated;
  }
  const std::string plain = simplified(name);
  std::string ours(name);
  bool known = plain.size() <= 2;
  for (const auto& entry : kProperties) {
    if (entry.theirs == plain) ours = entry.ours, known = true;
  }
  for (const auto entry : kBinaryProperties) known = known || entry == plain;
  if (!known) ours.insert(0, "sc:");  // Script; PCRE2's default is Script_Extensions
  return std::string(negated ? "\\P{" : "\\p{") + ours + "}";
}

/// [:name:] in a class; PCRE2's own are other sets.
std::string_view posix_class(std::string_view name) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 7> kSets = {{
      {"[:punct:]", R"(\p{P}\p{S})"},
      {"[:word:]", kWord},
      {"[:space:]", kSpace},
      {"[:alpha:]", R"(\p{Alphabetic})"},
      {"[:alnum:]", R"(\p{Alphabetic}\p{Nd})"},
      {"[:upper:]", R"(\p{Uppercase})"},
      {"[:lower:]", R"(\p{Lowercase})"},
  }};
  for (const auto& [known, set] : kSets) {
    if (known == name) return set;
  }
  return name;
}

/// What matches one character: `[items]`, or a group when the class needs set operations.
struct CharacterClass {
  std::string items;                ///< in PCRE2's dialect, for use between brackets
  std::vector<std::string> others;  ///< further members: patterns that match one character each
};

class Translator {
 public:
  explicit Translator(std::string_view pattern) : rest_(pattern) {}

  std::string run() {
    while (!rest_.empty()) {
      if (rest_[0] == '\\') {
        out_ += escape(false);
      } else if (rest_[0] == '[') {
        out_ += bracket(0);
      } else if (rest_.starts_with("(?")) {
        group_options();
      } else if (rest_.starts_with("{,")) {
        out_ += "{0,";  // at most n
        rest_.remove_prefix(2);
      } else {
        out_.push_back(take());
      }
    }
    return std::move(out_);
  }

 private:
  static constexpr int kNestingMax = 32;

  char take() {
    const char c = rest_[0];
    rest_.remove_prefix(1);
    return c;
  }

  /// Ruby's (?m) is PCRE2's (?s).
  void group_options() {
    std::size_t end = 2;
    while (end < rest_.size() &&
           (std::isalpha(static_cast<unsigned char>(rest_[end])) != 0 || rest_[end] == '-')) {
      ++end;
    }
    const bool options = end > 2 && end < rest_.size() && (rest_[end] == ':' || rest_[end] == ')');
    for (std::size_t i = 0; i < (options ? end : 2); ++i) {
      const char c = take();
      out_.push_back(options && c == 'm' ? 's' : c);
    }
  }

  /// The escape at the head; inside a class its members alone.
  std::string escape(bool in_class) {
    take();
    if (rest_.empty()) return "\\";
    const char c = take();
    const auto set = [&](std::string_view members, bool negated) {
      if (in_class && !negated) return std::string(members);
      return (negated ? "[^" : "[") + std::string(members) + "]";
    };
    std::string word(in_class ? "" : kLatinNumbers);
    switch (c) {
      case 's': return set(kSpace, false);
      case 'S': return in_class ? std::string(kNotSpace) : set(kSpace, true);
      case 'w':
      case 'W': return set(word.append(kWord), c == 'W');
      case 'h':
      case 'H': return set(kHexadecimal, c == 'H');
      case 'u': return "\\x{" + std::string(take_hexadecimal(4)) + "}";
      case 'p':
      case 'P': return take_property(c == 'P');
      default: return std::string("\\") + c;
    }
  }

  std::string_view take_hexadecimal(std::size_t count) {
    std::size_t n = 0;
    while (n < count && n < rest_.size() && std::isxdigit(static_cast<unsigned char>(rest_[n])))
      ++n;
    const auto digits = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return digits;
  }

  std::string take_property(bool negated) {
    const std::string plain = negated ? "\\P" : "\\p";
    if (!rest_.starts_with('{')) return plain;
    const auto end = rest_.find('}');
    if (end == std::string_view::npos) return plain;
    const auto name = rest_.substr(1, end - 1);
    rest_.remove_prefix(end + 1);
    return property(name, negated);
  }

  static std::string as_pattern(const CharacterClass& set) {
    if (set.others.empty()) return "[" + set.items + "]";
    std::string out = "(?:";
    if (!set.items.empty()) out += "[" + set.items + "]|";
    for (const auto& other : set.others) out += other + "|";
    out.back() = ')';
    return out;
  }

  /// The class at the head, as a pattern that matches one character.
  std::string bracket(int depth) {
    take();
    const bool negated = rest_.starts_with('^');
    if (negated) take();
    std::vector<CharacterClass> operands(1);
    bool first = true;
    while (!rest_.empty() && (rest_[0] != ']' || first)) {
      if (rest_.starts_with("&&")) {
        rest_.remove_prefix(2);
        operands.emplace_back();
      } else {
        member(operands.back(), depth);
      }
      first = false;
    }
    if (rest_.empty()) return "[";  // PCRE2 says what is wrong with it
    take();
    if (operands.size() == 1 && operands[0].others.empty()) {
      return (negated ? "[^" : "[") + operands[0].items + "]";
    }
    std::string all;
    for (std::size_t i = 0; i + 1 < operands.size(); ++i) {
      all += "(?=" + as_pattern(operands[i]) + ")";
    }
    all += as_pattern(operands.back());
    return negated ? "(?:(?!" + all + ")(?s:.))" : "(?:" + all + ")";
  }

  void member(CharacterClass& set, int depth) {
    if (rest_.starts_with("[:")) {
      const auto end = rest_.find(":]");
      if (end != std::string_view::npos) {
        const auto name = rest_.substr(0, end + 2);
        set.items += posix_class(name);
        rest_.remove_prefix(end + 2);
        return;
      }
    }
    if (rest_[0] == '[' && depth < kNestingMax) {
      set.others.push_back(bracket(depth + 1));
    } else if (rest_[0] == '\\') {
      std::string escaped = escape(true);
      // \W and \H become classes of their own.
      if (escaped.starts_with('['))
        set.others.push_back(std::move(escaped));
      else
        set.items += escaped;
    } else {
      if (rest_[0] == '[' || rest_[0] == ']') set.items.push_back('\\');
      set.items.push_back(take());
    }
  }

  std::string_view rest_;
  std::string out_;
};

}  // namespace

std::string to_pcre2(std::string_view pattern) { return Translator(pattern).run(); }

std::string escape_pattern(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (std::ispunct(static_cast<unsigned char>(c)) != 0 || c == ' ' || c == '\n')
      out.push_back('\\');
    out.push_back(c);
  }
  return out;
}

}  // namespace sluice
