// A trie walk at each place where some token can start.
#include "runtime/tokenizer/added_tokens.hpp"

#include <algorithm>

#include "runtime/tokenizer/utf8.hpp"

namespace sluice {
namespace {

/// A trie walk can cost this much at each place of the text.
constexpr std::size_t kContentBytesMax = 4096;

std::size_t last_character(std::string_view text) {
  std::size_t at = text.size() - 1;
  while ((static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

std::size_t white_space_begin(std::string_view text) {
  std::size_t size = 0;
  while (!text.empty()) {
    const std::size_t at = last_character(text);
    if (!is_white_space(utf8_front(text.substr(at), size))) break;
    text = text.substr(0, at);
  }
  return text.size();
}

std::size_t white_space_size(std::string_view text) {
  std::size_t at = 0, size = 0;
  while (at < text.size() && is_white_space(utf8_front(text.substr(at), size))) at += size;
  return at;
}

}  // namespace

void AddedTokens::Trie::insert(std::string_view pattern, TokenId id) {
  if (pattern.empty()) return;
  if (nodes.empty()) nodes.emplace_back();
  starts[static_cast<std::uint8_t>(pattern[0])] = true;
  std::uint32_t node = 0;
  for (const char c : pattern) {
    const auto byte = static_cast<std::uint8_t>(c);
    auto& children = nodes[node].children;
    const auto at = std::lower_bound(children.begin(), children.end(),
                                     std::pair<std::uint8_t, std::uint32_t>(byte, 0));
    if (at != children.end() && at->first == byte) {
      node = at->second;
    } else {
      const auto made = static_cast<std::uint32_t>(nodes.size());
      children.insert(at, {byte, made});
      nodes.emplace_back();
      node = made;
    }
  }
  if (nodes[node].pattern < 0) {
    nodes[node].pattern = static_cast<std::int32_t>(patterns.size());
    patterns.push_back(id);
  }
}

std::uint32_t AddedTokens::Trie::child(std::uint32_t node, std::uint8_t byte) const {
  const auto& children = nodes[node].children;
  const auto at = std::lower_bound(children.begin(), children.end(),
                                   std::pair<std::uint8_t, std::uint32_t>(byte, 0));
  return at != children.end() && at->first == byte ? at->second : 0;
}

std::int32_t AddedTokens::Trie::longest(std::string_view text, std::size_t& size) const {
  std::int32_t found = -1;
  std::uint32_t node = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    node = child(node, static_cast<std::uint8_t>(text[i]));
    if (node == 0) break;
    if (nodes[node].pattern >= 0) {
      found = nodes[node].pattern;
      size = i + 1;
    }
  }
  return found;
}

Result<AddedTokens> AddedTokens::create() {
  SLUICE_ASSIGN(auto word,
                Regex::compile("[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}]"));
  return AddedTokens(std::move(word));
}

Status AddedTokens::add(const AddedToken& token, const Bpe& model) {
  if (token.content.empty()) return {};
  if (token.content.size() > kContentBytesMax) {
    return invalid_input("an added token of {} bytes; at most {} are supported",
                         token.content.size(), kContentBytesMax);
  }
  if (token.special && special_.insert(token.content).second) special_order_.push_back(token);
  const auto known = ids_.find(token.content);
  if (known != ids_.end() && tokens_.at(known->second) == token) return {};
  const TokenId id = known != ids_.end()
                         ? known->second
                         : model.id_of(token.content)
                               .value_or(std::max(id_end_, static_cast<TokenId>(model.size())));
  ids_[token.content] = id;
  tokens_[id] = token;
  id_end_ = std::max(id_end_, id + 1);
  if (!special_.contains(token.content)) other_order_.push_back(token);
  return {};
}

Status AddedTokens::build(const Normalizer& normalizer, Regex::Scratch& scratch) {
  plain_ = {};
  normalized_ = {};
  for (const auto* order : {&special_order_, &other_order_}) {
    for (const AddedToken& token : *order) {
      const TokenId id = ids_.at(token.content);
      if (!token.normalized) {
        plain_.insert(token.content, id);
        continue;
      }
      SLUICE_ASSIGN(const auto content, normalizer.run(token.content, scratch));
      normalized_.insert(content, id);
    }
  }
  return {};
}

Result<bool> AddedTokens::touches_word(std::string_view text, std::size_t begin, std::size_t end,
                                       Regex::Scratch& scratch) const {
  Match match;
  if (begin > 0) {
    const std::size_t at = last_character(text.substr(0, begin));
    SLUICE_ASSIGN(const bool word, word_.find(text.substr(at, begin - at), 0, match, scratch));
    if (word) return true;
  }
  if (end == text.size()) return false;
  std::size_t size = 0;
  static_cast<void>(utf8_front(text.substr(end), size));
  return word_.find(text.substr(end, size), 0, match, scratch);
}

Status AddedTokens::split(std::string_view text, bool normalized, bool literal,
                          Regex::Scratch& scratch, std::vector<Part>& parts) const {
  const Trie& trie = normalized ? normalized_ : plain_;
  std::size_t done = 0;
  std::size_t space_end = 0;  // where the white space that was looked at last ends
  for (std::size_t at = 0; at < text.size() && !trie.patterns.empty();) {
    std::size_t size = 0;
    const std::int32_t pattern =
        trie.starts[static_cast<std::uint8_t>(text[at])] ? trie.longest(text.substr(at), size) : -1;
    if (pattern < 0) {
      ++at;
      continue;
    }
    std::size_t begin = at, end = at + size;
    at = end;
    const TokenId id = trie.patterns[pattern];
    const AddedToken& token = tokens_.at(id);
    if (literal && special_.contains(token.content)) continue;
    if (token.single_word) {
      SLUICE_ASSIGN(const bool inside_word, touches_word(text, begin, end, scratch));
      if (inside_word) continue;
    }
    if (token.lstrip) {
      begin = begin > done ? done + white_space_begin(text.substr(done, begin - done)) : done;
    }
    if (token.rstrip) {
      if (end > space_end) space_end = end + white_space_size(text.substr(end));
      end = space_end;
    }
    if (done < begin) parts.push_back({std::nullopt, done, begin});
    parts.push_back({id, begin, end});
    done = end;
  }
  if (done < text.size()) parts.push_back({std::nullopt, done, text.size()});
  return {};
}

std::optional<TokenId> AddedTokens::id_of(const std::string& content) const {
  const auto found = ids_.find(content);
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

const AddedToken* AddedTokens::find(TokenId id) const {
  const auto found = tokens_.find(id);
  return found == tokens_.end() ? nullptr : &found->second;
}

bool AddedTokens::is_special(std::string_view content) const {
  return special_.contains(std::string(content));
}

}  // namespace sluice
