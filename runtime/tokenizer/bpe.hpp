// Byte-pair encoding: the model of a tokenizer.json, text pieces to token ids.
//
// A piece starts as one symbol a character; the pair with the smallest merge rank (the leftmost of
// equals) becomes one symbol until no pair has a merge. Time is O(n log n) in the piece's length.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "kernels/base/result.hpp"

namespace sluice {

using TokenId = std::int32_t;

class Bpe {
 public:
  struct Definition {
    std::vector<std::pair<std::string, TokenId>> vocabulary;  ///< texts and ids are unique
    std::vector<std::pair<std::string, std::string>> merges;  ///< by rank
    std::optional<std::string> unknown_token;
    std::string continuing_subword_prefix;
    std::string end_of_word_suffix;
    bool fuse_unknown = false;
    bool byte_fallback = false;
    bool ignore_merges = false;  ///< a piece that is a token as a whole is that token
  };

  static Result<Bpe> create(Definition definition);
  Bpe(Bpe&&) = default;
  Bpe& operator=(Bpe&&) = default;

  /// What one thread needs to encode: buffers, and the pieces it met lately.
  class Scratch;

  /// Appends the ids of a piece of well-formed text. With `byte_letters` its bytes are written as
  /// byte letters first (byte_letters.hpp).
  void encode(std::string_view piece, bool byte_letters, Scratch& scratch,
              std::vector<TokenId>& ids) const;

  [[nodiscard]] std::optional<TokenId> id_of(std::string_view text) const;
  /// Number of tokens, and one more than the largest id.
  [[nodiscard]] std::size_t size() const { return id_of_.size(); }
  [[nodiscard]] TokenId id_end() const { return static_cast<TokenId>(texts_.size()); }
  /// Of ids in [0, id_end()): the token's text; nullopt for an id that no token has.
  [[nodiscard]] std::optional<std::string_view> text_of(TokenId id) const;

 private:
  struct Merge {
    std::uint32_t rank = kNoRank;
    TokenId id = 0;
  };
  static constexpr std::uint32_t kNoRank = 0xFFFFFFFFu;

  class RankQueue;

  /// From a pair of 32-bit numbers to a Merge: open addressing, filled once.
  class PairTable {
   public:
    explicit PairTable(std::size_t pairs = 0);
    void insert(std::uint32_t left, std::uint32_t right, Merge merge);
    [[nodiscard]] Merge find(std::uint32_t left, std::uint32_t right) const;

   private:
    struct Slot {
      std::uint64_t key = kEmpty;
      Merge merge;
    };
    static constexpr std::uint64_t kEmpty = ~std::uint64_t{0};
    [[nodiscard]] std::size_t slot_of(std::uint64_t key) const;

    std::vector<Slot> slots_;
  };

  Bpe() = default;
  Status add_vocabulary(std::vector<std::pair<std::string, TokenId>> vocabulary);
  Status add_merges(const std::vector<std::pair<std::string, std::string>>& merges);
  void add_joints(std::string_view token);
  void add_letters();

  [[nodiscard]] std::optional<TokenId> character_id(char32_t c, std::string_view text) const;
  void encode_text(std::string_view text, bool cache_words, Scratch& scratch,
                   std::vector<TokenId>& ids) const;
  void encode_bytes(std::string_view bytes, Scratch& scratch, std::vector<TokenId>& ids) const;
  std::size_t independent_head(std::string_view text) const;
  void encode_word(std::string_view text, Scratch& scratch, std::vector<TokenId>& ids) const;
  void symbols_of(std::string_view text, Scratch& scratch) const;
  bool add_fallback_bytes(std::string_view character, Scratch& scratch) const;
  void merge(Scratch& scratch, std::vector<TokenId>& ids) const;
  void merge_short(std::vector<TokenId>& symbols) const;
  void merge_long(Scratch& scratch) const;

  std::unordered_map<std::string_view, TokenId> id_of_;
  std::vector<std::string> texts_;  ///< by id; id_of_ points into them
  std::vector<bool> used_;
  std::array<TokenId, 0x400> short_character_ids_{};  ///< of code points below 0x400; -1: none
  std::array<TokenId, 256> byte_ids_{};               ///< of <0x00>..<0xFF>; -1: none
  bool letters_complete_ = false;  ///< every byte letter is a token: bytes need no text form
  std::array<TokenId, 256> letter_ids_{};
  std::size_t merge_count_ = 0;
  PairTable merges_;
  PairTable joints_;    ///< characters that stand side by side in some token that a merge makes
  Definition options_;  ///< without vocabulary and merges
  std::optional<TokenId> unknown_id_;
};

/// Pairs that wait for their merge: by rank, then by position. One list of positions a rank is
/// written and read nearly in order, which a heap of pairs is not.
class Bpe::RankQueue {
 public:
  void reset(std::size_t ranks);
  void push(std::uint32_t rank, std::uint32_t position);
  /// False if nothing waits.
  bool pop(std::uint32_t& rank, std::uint32_t& position);

 private:
  struct Bucket {
    std::vector<std::uint32_t> positions;
    std::size_t done = 0;  ///< positions before this are popped
    bool sorted = true;
    bool queued = false;
  };
  void order(Bucket& bucket);

  std::vector<std::uint32_t> bucket_of_rank_;  ///< 0: none, else the index + 1
  std::vector<Bucket> buckets_;
  std::vector<std::uint32_t> bucket_ranks_;
  std::vector<std::uint32_t> ranks_;  ///< a min-heap of the ranks with waiting positions
};

class Bpe::Scratch {
 private:
  friend class Bpe;

  struct Link {
    TokenId id;  ///< -1: merged into its left neighbour
    std::int32_t previous;
    std::int32_t next;
  };
  /// A piece met before, with its ids, in place: no allocation, and the size is bounded.
  struct CacheEntry {
    static constexpr std::size_t kBytesMax = 31;
    static constexpr std::size_t kIdsMax = 15;
    std::uint8_t bytes = 0xFF;
    std::uint8_t ids = 0;
    std::array<char, kBytesMax> text;
    std::array<TokenId, kIdsMax> id;
  };
  static constexpr std::size_t kCacheEntries = std::size_t{1} << 15;

  std::string letters_;
  std::vector<TokenId> symbols_;
  std::vector<Link> links_;
  RankQueue queue_;
  std::vector<CacheEntry> cache_;
};

}  // namespace sluice
