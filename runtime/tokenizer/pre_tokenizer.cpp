// Splits by pattern, and the steps that rewrite what they cut.
#include "runtime/tokenizer/pre_tokenizer.hpp"

#include "runtime/tokenizer/byte_letters.hpp"

namespace sluice {
namespace {

using Behavior = PreTokenizer::Behavior;
using Range = Pieces::Range;

struct Stretch {
  Range range;
  bool match;
};

/// The pieces that `stretches`, which cover one piece, become.
void join(const std::vector<Stretch>& stretches, Behavior behavior, std::vector<Range>& out) {
  const std::size_t first = out.size();
  for (std::size_t i = 0; i < stretches.size(); ++i) {
    const bool match = stretches[i].match;
    const bool match_before = i > 0 && stretches[i - 1].match;
    bool extends = false;  // the piece before
    switch (behavior) {
      case Behavior::kRemoved:
        if (match) continue;
        break;
      case Behavior::kIsolated: break;
      case Behavior::kContiguous: extends = match == match_before; break;
      case Behavior::kMergedWithPrevious: extends = match && !match_before; break;
      case Behavior::kMergedWithNext: extends = match_before && !match; break;
    }
    if (extends && out.size() > first) {
      out.back().end = stretches[i].range.end;
    } else {
      out.push_back(stretches[i].range);
    }
  }
}

Status apply(const PreTokenizer::Split& step, Regex::Scratch& scratch, Pieces& pieces) {
  std::vector<Range> out;
  std::vector<Stretch> stretches;
  const std::size_t start = pieces.ranges.empty() ? 0 : pieces.ranges[0].begin;
  for (const Range range : pieces.ranges) {
    stretches.clear();
    SLUICE_TRY(step.pattern.split(
        pieces.piece(range), scratch, [&](std::size_t begin, std::size_t end, bool match) {
          stretches.push_back({{range.begin + begin, range.begin + end}, match != step.invert});
        }));
    join(stretches, step.behavior, out);
  }
  pieces.ranges = std::move(out);
  pieces.at_start = pieces.at_start && !pieces.ranges.empty() && pieces.ranges[0].begin == start;
  return {};
}

/// Replaces the text by what write(piece, is_first, out text, out ranges) makes of its pieces.
template <class Write>
Status rewrite(Pieces& pieces, Write&& write) {
  std::string text;
  text.reserve(pieces.text.size() + pieces.text.size() / 4);
  std::vector<Range> ranges;
  ranges.reserve(pieces.ranges.size());
  for (std::size_t i = 0; i < pieces.ranges.size(); ++i) {
    write(pieces.piece(pieces.ranges[i]), i == 0, text, ranges);
  }
  pieces.rewritten = std::move(text);
  pieces.text = pieces.rewritten;
  pieces.ranges = std::move(ranges);
  return {};
}

Status apply(const PreTokenizer::PrefixSpace&, Regex::Scratch&, Pieces& pieces) {
  return rewrite(pieces, [](std::string_view piece, bool, std::string& text, auto& ranges) {
    const std::size_t begin = text.size();
    if (!piece.starts_with(' ')) text.push_back(' ');
    text += piece;
    ranges.push_back({begin, text.size()});
  });
}

Status apply(const PreTokenizer::ByteLetters&, Regex::Scratch&, Pieces& pieces) {
  return rewrite(pieces, [](std::string_view piece, bool, std::string& text, auto& ranges) {
    const std::size_t begin = text.size();
    append_byte_letters(text, piece);
    ranges.push_back({begin, text.size()});
  });
}

bool wants_prefix(const PreTokenizer::Metaspace& step, std::string_view piece, bool at_start) {
  using Prepend = PreTokenizer::Metaspace::Prepend;
  if (piece.starts_with(' ') || piece.starts_with(step.replacement)) return false;
  return step.prepend == Prepend::kAlways || (step.prepend == Prepend::kFirst && at_start);
}

Status apply(const PreTokenizer::Metaspace& step, Regex::Scratch&, Pieces& pieces) {
  const bool at_start = pieces.at_start;
  return rewrite(pieces, [&](std::string_view piece, bool first, std::string& text, auto& ranges) {
    std::size_t begin = text.size();
    const auto mark = [&] {
      if (step.split && text.size() > begin) {
        ranges.push_back({begin, text.size()});
        begin = text.size();
      }
      text += step.replacement;
    };
    if (wants_prefix(step, piece, first && at_start)) mark();
    while (!piece.empty()) {
      if (piece[0] == ' ') {
        mark();
        piece.remove_prefix(1);
      } else if (piece.starts_with(step.replacement)) {
        mark();
        piece.remove_prefix(step.replacement.size());
      } else {
        text.push_back(piece[0]);
        piece.remove_prefix(1);
      }
    }
    if (text.size() > begin) ranges.push_back({begin, text.size()});
  });
}

}  // namespace

Status PreTokenizer::run(std::string_view text, bool at_start, Regex::Scratch& scratch,
                         Pieces& pieces) const {
  pieces.text = text;
  pieces.at_start = at_start;
  pieces.ranges.clear();
  if (!text.empty()) pieces.ranges.push_back({0, text.size()});
  const std::size_t count = steps_.size() - (byte_letters() ? 1 : 0);
  for (std::size_t i = 0; i < count; ++i) {
    SLUICE_TRY(
        std::visit([&](const auto& step) { return apply(step, scratch, pieces); }, steps_[i]));
  }
  return {};
}

}  // namespace sluice
