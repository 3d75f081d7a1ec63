// BPE by linked list and a queue of ranks; words come from a cache, long pieces fall apart into
// words first.
#include "runtime/tokenizer/bpe.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>

#include "kernels/base/check.hpp"
#include "kernels/base/digest.hpp"
#include "runtime/tokenizer/byte_letters.hpp"
#include "runtime/tokenizer/utf8.hpp"

namespace sluice {
namespace {

constexpr TokenId kNone = -1;
constexpr std::size_t kShortSymbols = 48;  // up to here a scan beats a queue
constexpr std::size_t kKeptSymbolsMax = std::size_t{1} << 20;
constexpr std::size_t kIndependentMin = 64;  // shorter pieces are not worth cutting

std::uint64_t pair_key(std::uint32_t left, std::uint32_t right) {
  return std::uint64_t{left} << 32 | right;
}

}  // namespace

Bpe::PairTable::PairTable(std::size_t pairs) : slots_(std::bit_ceil(pairs * 2 + 2)) {}

std::size_t Bpe::PairTable::slot_of(std::uint64_t key) const {
  const std::size_t mask = slots_.size() - 1;
  std::uint64_t hash = key * 0x9E3779B97F4A7C15u;
  hash ^= hash >> 29;
  std::size_t slot = hash & mask;
  while (slots_[slot].key != key && slots_[slot].key != kEmpty) slot = (slot + 1) & mask;
  return slot;
}

void Bpe::PairTable::insert(std::uint32_t left, std::uint32_t right, Merge merge) {
  const std::uint64_t key = pair_key(left, right);
  slots_[slot_of(key)] = {key, merge};
}

Bpe::Merge Bpe::PairTable::find(std::uint32_t left, std::uint32_t right) const {
  const Slot& slot = slots_[slot_of(pair_key(left, right))];
  return slot.key == kEmpty ? Merge{} : slot.merge;
}

Result<Bpe> Bpe::create(Definition definition) {
  Bpe bpe;
  SLUICE_TRY(bpe.add_vocabulary(std::move(definition.vocabulary)));
  const auto merges = std::move(definition.merges);
  bpe.options_ = std::move(definition);
  SLUICE_TRY(bpe.add_merges(merges));
  if (bpe.options_.unknown_token) {
    bpe.unknown_id_ = bpe.id_of(*bpe.options_.unknown_token);
    if (!bpe.unknown_id_) {
      return invalid_input("model.unk_token '{}' is not in model.vocab",
                           *bpe.options_.unknown_token);
    }
  }
  bpe.add_letters();
  return bpe;
}

Status Bpe::add_vocabulary(std::vector<std::pair<std::string, TokenId>> vocabulary) {
  // Ids may have gaps, but not ones that the vocabulary's size does not justify.
  const std::size_t ids_max = vocabulary.size() * 8 + (std::size_t{1} << 16);
  for (const auto& [text, id] : vocabulary) {
    if (id < 0 || static_cast<std::size_t>(id) >= ids_max) {
      return invalid_input("model.vocab has id {} for '{}' among {} tokens; expected 0 to {}", id,
                           text, vocabulary.size(), ids_max - 1);
    }
    if (static_cast<std::size_t>(id) >= texts_.size()) {
      texts_.resize(id + 1);
      used_.resize(id + 1);
    }
    if (used_[id]) {
      return invalid_input("model.vocab has id {} twice, for '{}' and '{}'", id, texts_[id], text);
    }
    used_[id] = true;
    texts_[id] = text;
  }
  id_of_.reserve(vocabulary.size());
  for (const auto& entry : vocabulary) id_of_.emplace(texts_[entry.second], entry.second);
  return {};
}

Status Bpe::add_merges(const std::vector<std::pair<std::string, std::string>>& merges) {
  merge_count_ = merges.size();
  merges_ = PairTable(merges.size());
  std::size_t joints = 0;
  std::vector<TokenId> made;
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const auto strip = std::min(options_.continuing_subword_prefix.size(), right.size());
    const auto left_id = id_of(left), right_id = id_of(right),
               id = id_of(left + right.substr(strip));
    if (!left_id || !right_id || !id) {
      return invalid_input("model.merges[{}] joins '{}' and '{}', but '{}' is not in model.vocab",
                           rank, left, right,
                           !left_id    ? left
                           : !right_id ? right
                                       : left + right.substr(strip));
    }
    merges_.insert(*left_id, *right_id, {static_cast<std::uint32_t>(rank), *id});
    made.push_back(*id);
    joints += texts_[*id].size();
  }
  joints_ = PairTable(joints);
  for (const TokenId id : made) add_joints(texts_[id]);
  return {};
}

void Bpe::add_joints(std::string_view token) {
  std::size_t size = 0;
  char32_t previous = 0;
  for (bool first = true; !token.empty(); token.remove_prefix(size), first = false) {
    const char32_t c = utf8_front(token, size);
    if (!first) joints_.insert(previous, c, {0, 0});
    previous = c;
  }
}

void Bpe::add_letters() {
  for (char32_t c = 0; c < short_character_ids_.size(); ++c) {
    std::string text;
    append_utf8(text, c);
    short_character_ids_[c] = id_of(text).value_or(kNone);
  }
  letters_complete_ =
      options_.continuing_subword_prefix.empty() && options_.end_of_word_suffix.empty();
  for (int byte = 0; byte < 256; ++byte) {
    byte_ids_[byte] = id_of(fmt::format("<0x{:02X}>", byte)).value_or(kNone);
    letter_ids_[byte] = short_character_ids_[byte_letter(static_cast<std::uint8_t>(byte))];
    letters_complete_ = letters_complete_ && letter_ids_[byte] != kNone;
  }
}

std::optional<TokenId> Bpe::id_of(std::string_view text) const {
  const auto found = id_of_.find(text);
  if (found == id_of_.end()) return std::nullopt;
  return found->second;
}

std::optional<std::string_view> Bpe::text_of(TokenId id) const {
  if (id < 0 || id >= id_end() || !used_[id]) return std::nullopt;
  return texts_[id];
}

std::optional<TokenId> Bpe::character_id(char32_t c, std::string_view text) const {
  if (c >= short_character_ids_.size()) return id_of(text);
  const TokenId id = short_character_ids_[c];
  return id == kNone ? std::nullopt : std::optional(id);
}

void Bpe::encode(std::string_view piece, bool byte_letters, Scratch& scratch,
                 std::vector<TokenId>& ids) const {
  using Entry = Scratch::CacheEntry;
  if (piece.empty()) return;
  if (piece.size() > Entry::kBytesMax) {
    return byte_letters ? encode_bytes(piece, scratch, ids)
                        : encode_text(piece, true, scratch, ids);
  }
  if (scratch.cache_.empty()) scratch.cache_.resize(Scratch::kCacheEntries);
  Entry& entry = scratch.cache_[digest(piece) % Scratch::kCacheEntries];
  if (entry.bytes == piece.size() &&
      std::memcmp(entry.text.data(), piece.data(), piece.size()) == 0) {
    ids.insert(ids.end(), entry.id.begin(), entry.id.begin() + entry.ids);
    return;
  }
  const std::size_t before = ids.size();
  byte_letters ? encode_bytes(piece, scratch, ids) : encode_text(piece, true, scratch, ids);
  if (ids.size() - before > Entry::kIdsMax) return;
  entry.bytes = static_cast<std::uint8_t>(piece.size());
  entry.ids = static_cast<std::uint8_t>(ids.size() - before);
  std::memcpy(entry.text.data(), piece.data(), piece.size());
  std::copy(ids.begin() + static_cast<std::ptrdiff_t>(before), ids.end(), entry.id.begin());
}

void Bpe::encode_bytes(std::string_view bytes, Scratch& scratch, std::vector<TokenId>& ids) const {
  if (letters_complete_ && !options_.ignore_merges) {
    scratch.symbols_.clear();
    for (const char c : bytes)
      scratch.symbols_.push_back(letter_ids_[static_cast<std::uint8_t>(c)]);
    return merge(scratch, ids);
  }
  scratch.letters_.clear();
  append_byte_letters(scratch.letters_, bytes);
  encode_text(scratch.letters_, false, scratch, ids);  // the cache holds bytes, not letters
}

void Bpe::encode_text(std::string_view text, bool cache_words, Scratch& scratch,
                      std::vector<TokenId>& ids) const {
  if (options_.ignore_merges) {
    if (const auto id = id_of(text)) return ids.push_back(*id);
  }
  while (!text.empty()) {
    const std::size_t head = independent_head(text);
    // Heads of a longer piece are words like any others: they come from the cache.
    if (head < text.size() && cache_words && !options_.ignore_merges) {
      encode(text.substr(0, head), false, scratch, ids);
    } else {
      encode_word(text.substr(0, head), scratch, ids);
    }
    text.remove_prefix(head);
  }
}

/// Bytes of the longest head that no merge can tie to the rest: it ends between two characters
/// that are tokens and that no merged token holds side by side. SentencePiece-style tokenizers
/// have whole texts as one piece; this is what makes words of them.
std::size_t Bpe::independent_head(std::string_view text) const {
  if (text.size() < kIndependentMin || !options_.continuing_subword_prefix.empty() ||
      !options_.end_of_word_suffix.empty()) {
    return text.size();
  }
  std::size_t size = 0;
  char32_t previous = utf8_front(text, size);
  bool previous_known = character_id(previous, text.substr(0, size)).has_value();
  for (std::size_t at = size; at < text.size(); at += size) {
    const char32_t c = utf8_front(text.substr(at), size);
    const bool known = character_id(c, text.substr(at, size)).has_value();
    if (known && previous_known && joints_.find(previous, c).rank == kNoRank) return at;
    previous = c;
    previous_known = known;
  }
  return text.size();
}

void Bpe::encode_word(std::string_view text, Scratch& scratch, std::vector<TokenId>& ids) const {
  symbols_of(text, scratch);
  merge(scratch, ids);
}

void Bpe::symbols_of(std::string_view text, Scratch& scratch) const {
  auto& symbols = scratch.symbols_;
  symbols.clear();
  const bool decorated =
      !options_.continuing_subword_prefix.empty() || !options_.end_of_word_suffix.empty();
  bool unknown_pending = false;  // flushed by the next known character, not by fallback bytes
  std::size_t size = 0;
  for (std::size_t at = 0; at < text.size(); at += size) {
    const char32_t c = utf8_front(text.substr(at), size);
    std::string_view character = text.substr(at, size);
    std::string decoration;
    if (decorated) {
      if (at > 0) decoration = options_.continuing_subword_prefix;
      decoration += character;
      if (at + size == text.size()) decoration += options_.end_of_word_suffix;
      character = decoration;
    }
    const auto id = decorated ? id_of(character) : character_id(c, character);
    if (id) {
      if (unknown_pending) symbols.push_back(*unknown_id_);
      unknown_pending = false;
      symbols.push_back(*id);
    } else if (!add_fallback_bytes(character, scratch) && unknown_id_) {
      if (unknown_pending && !options_.fuse_unknown) symbols.push_back(*unknown_id_);
      unknown_pending = true;
    }
  }
  if (unknown_pending) symbols.push_back(*unknown_id_);
}

bool Bpe::add_fallback_bytes(std::string_view character, Scratch& scratch) const {
  if (!options_.byte_fallback) return false;
  const auto id = [&](char byte) { return byte_ids_[static_cast<std::uint8_t>(byte)]; };
  for (const char byte : character) {
    if (id(byte) == kNone) return false;
  }
  for (const char byte : character) scratch.symbols_.push_back(id(byte));
  return true;
}

void Bpe::merge(Scratch& scratch, std::vector<TokenId>& ids) const {
  if (merge_count_ == 0) {
    // Symbols are the tokens.
  } else if (scratch.symbols_.size() <= kShortSymbols) {
    merge_short(scratch.symbols_);
  } else {
    merge_long(scratch);
  }
  ids.insert(ids.end(), scratch.symbols_.begin(), scratch.symbols_.end());
}

void Bpe::merge_short(std::vector<TokenId>& symbols) const {
  std::array<Merge, kShortSymbols> merge_at;  // of symbols i and i + 1
  std::size_t count = symbols.size();
  for (std::size_t i = 0; i + 1 < count; ++i)
    merge_at[i] = merges_.find(symbols[i], symbols[i + 1]);
  while (count > 1) {
    std::size_t best = 0;
    for (std::size_t i = 1; i + 1 < count; ++i) {
      if (merge_at[i].rank < merge_at[best].rank) best = i;
    }
    if (merge_at[best].rank == kNoRank) break;
    symbols[best] = merge_at[best].id;
    for (std::size_t i = best + 1; i + 1 < count; ++i) {
      symbols[i] = symbols[i + 1];
      merge_at[i] = merge_at[i + 1];
    }
    --count;
    if (best > 0) merge_at[best - 1] = merges_.find(symbols[best - 1], symbols[best]);
    if (best + 1 < count) merge_at[best] = merges_.find(symbols[best], symbols[best + 1]);
  }
  symbols.resize(count);
}

void Bpe::merge_long(Scratch& scratch) const {
  auto& links = scratch.links_;
  auto& queue = scratch.queue_;
  const auto count = static_cast<std::int32_t>(scratch.symbols_.size());
  queue.reset(merge_count_);
  links.clear();
  for (std::int32_t i = 0; i < count; ++i) {
    links.push_back({scratch.symbols_[i], i - 1, i + 1 < count ? i + 1 : -1});
  }
  const auto merge_at = [&](std::int32_t position) {
    const std::int32_t next = links[position].next;
    return next < 0 ? Merge{} : merges_.find(links[position].id, links[next].id);
  };
  const auto offer = [&](std::int32_t position) {
    const std::uint32_t rank = merge_at(position).rank;
    if (rank != kNoRank) queue.push(rank, static_cast<std::uint32_t>(position));
  };
  for (std::int32_t i = 0; i < count; ++i) offer(i);
  std::uint32_t rank = 0, place = 0;
  while (queue.pop(rank, place)) {
    const auto position = static_cast<std::int32_t>(place);
    if (links[position].id == kNone) continue;
    const Merge merge = merge_at(position);
    if (merge.rank != rank) continue;  // a neighbour has changed since
    const std::int32_t gone = links[position].next;
    links[position].id = merge.id;
    links[position].next = links[gone].next;
    links[gone].id = kNone;
    if (links[gone].next >= 0) links[links[gone].next].previous = position;
    if (links[position].previous >= 0) offer(links[position].previous);
    offer(position);
  }
  scratch.symbols_.clear();
  for (std::int32_t i = count > 0 ? 0 : -1; i >= 0; i = links[i].next) {
    scratch.symbols_.push_back(links[i].id);
  }
  if (links.size() > kKeptSymbolsMax) {  // one huge piece must not hold its memory for good
    links = {};
    queue = {};
  }
}

void Bpe::RankQueue::reset(std::size_t ranks) {
  bucket_of_rank_.resize(ranks);
  // Buckets keep their memory for the next piece.
  for (std::size_t i = 0; i < bucket_ranks_.size(); ++i) {
    bucket_of_rank_[bucket_ranks_[i]] = 0;
    Bucket& bucket = buckets_[i];
    bucket.positions.clear();
    bucket.done = 0;
    bucket.sorted = true;
    bucket.queued = false;
  }
  bucket_ranks_.clear();
  ranks_.clear();
}

void Bpe::RankQueue::push(std::uint32_t rank, std::uint32_t position) {
  std::uint32_t& index = bucket_of_rank_[rank];
  if (index == 0) {
    bucket_ranks_.push_back(rank);
    index = static_cast<std::uint32_t>(bucket_ranks_.size());
    if (buckets_.size() < bucket_ranks_.size()) buckets_.emplace_back();
  }
  Bucket& bucket = buckets_[index - 1];
  bucket.sorted = bucket.sorted &&
                  (bucket.done == bucket.positions.size() || bucket.positions.back() <= position);
  bucket.positions.push_back(position);
  if (bucket.queued) return;
  bucket.queued = true;
  ranks_.push_back(rank);
  std::push_heap(ranks_.begin(), ranks_.end(), std::greater<>());
}

void Bpe::RankQueue::order(Bucket& bucket) {
  if (bucket.sorted) return;
  std::sort(bucket.positions.begin() + static_cast<std::ptrdiff_t>(bucket.done),
            bucket.positions.end());
  bucket.sorted = true;
}

bool Bpe::RankQueue::pop(std::uint32_t& rank, std::uint32_t& position) {
  while (!ranks_.empty()) {
    rank = ranks_.front();
    Bucket& bucket = buckets_[bucket_of_rank_[rank] - 1];
    if (bucket.done < bucket.positions.size()) {
      order(bucket);
      position = bucket.positions[bucket.done++];
      return true;
    }
    bucket.positions.clear();
    bucket.done = 0;
    bucket.queued = false;
    std::pop_heap(ranks_.begin(), ranks_.end(), std::greater<>());
    ranks_.pop_back();
  }
  return false;
}

}  // namespace sluice
