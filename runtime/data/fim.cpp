// Random numbers are keyed by (seed, document): the same document is cut the same in every run.
#include "runtime/data/fim.hpp"

#include <algorithm>

namespace sluice {
namespace {

/// A place from 0 to text.size() that is not inside a character.
std::size_t place(std::string_view text, std::uint64_t random) {
  auto at = static_cast<std::size_t>(random);
  while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) ++at;
  return at;
}

}  // namespace

bool fim_chosen(std::uint64_t seed, std::uint64_t document, double rate) {
  return Random(seed, RandomPurpose::kFim, document).uniform(0) < rate;
}

FimCut fim_cut(std::string_view text, std::uint64_t seed, std::uint64_t document) {
  const Random random(seed, RandomPurpose::kFim, document);
  std::size_t first = place(text, random.below(text.size() + 1, 1));
  std::size_t second = place(text, random.below(text.size() + 1, 2));
  if (first > second) std::swap(first, second);
  return {text.substr(0, first), text.substr(first, second - first), text.substr(second)};
}

}  // namespace sluice
