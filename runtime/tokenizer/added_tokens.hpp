// Added tokens: texts that are cut out of the input before anything else and are one token each.
//
// The longest at the leftmost place wins. Those with `normalized` are looked for in the normalised
// text, by their own normalised form, the others in the text as it came.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "kernels/base/result.hpp"
#include "runtime/tokenizer/bpe.hpp"
#include "runtime/tokenizer/normalizer.hpp"

namespace sluice {

struct AddedToken {
  std::string content;
  bool single_word = false;  ///< only where no word character touches it
  bool lstrip = false;       ///< takes white space on its left along
  bool rstrip = false;       ///< and on its right
  bool normalized = true;
  bool special = false;

  bool operator==(const AddedToken&) const = default;
};

class AddedTokens {
 public:
  /// A stretch of text: an added token, or text between such.
  struct Part {
    std::optional<TokenId> id;
    std::size_t begin = 0;
    std::size_t end = 0;
  };

  static Result<AddedTokens> create();

  /// Registers a token: its id is the model's, else the next free one. A token known before gets
  /// the new flags. Call build() when all are in.
  Status add(const AddedToken& token, const Bpe& model);
  Status build(const Normalizer& normalizer, Regex::Scratch& scratch);

  [[nodiscard]] bool has_normalized() const { return !normalized_.patterns.empty(); }

  /// Cuts `text` at the tokens with or without `normalized`. With `literal`, special ones are text.
  Status split(std::string_view text, bool normalized, bool literal, Regex::Scratch& scratch,
               std::vector<Part>& parts) const;

  [[nodiscard]] std::optional<TokenId> id_of(const std::string& content) const;
  [[nodiscard]] const AddedToken* find(TokenId id) const;
  [[nodiscard]] bool is_special(std::string_view content) const;
  [[nodiscard]] TokenId id_end() const { return id_end_; }  ///< one more than the largest id
  [[nodiscard]] std::size_t size() const { return tokens_.size(); }

 private:
  /// Patterns as a byte trie.
  struct Trie {
    struct Node {
      std::vector<std::pair<std::uint8_t, std::uint32_t>> children;  ///< sorted by byte
      std::int32_t pattern = -1;
    };
    std::vector<Node> nodes;
    std::array<bool, 256> starts{};
    std::vector<TokenId> patterns;

    void insert(std::string_view pattern, TokenId id);
    /// The longest pattern at the head of `text`: its index, or -1, and its size.
    [[nodiscard]] std::int32_t longest(std::string_view text, std::size_t& size) const;
    [[nodiscard]] std::uint32_t child(std::uint32_t node, std::uint8_t byte) const;
  };

  explicit AddedTokens(Regex word) : word_(std::move(word)) {}
  Result<bool> touches_word(std::string_view text, std::size_t begin, std::size_t end,
                            Regex::Scratch& scratch) const;

  Regex word_;
  Trie plain_;
  Trie normalized_;
  std::vector<AddedToken> special_order_;  ///< special tokens as first given
  std::vector<AddedToken> other_order_;
  std::unordered_set<std::string> special_;
  std::unordered_map<std::string, TokenId> ids_;
  std::unordered_map<TokenId, AddedToken> tokens_;
  TokenId id_end_ = 0;
};

}  // namespace sluice
