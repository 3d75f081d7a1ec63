// Token cache: the tokenized corpus as one file, written once and read at any place.
//
// Layout, little-endian: header; ids of the training part, ids of the validation part right behind
// them (2 bytes an id where the vocabulary allows, else 4); how often each id comes in either part
// (64 bits each). It is written beside its final name, synced and renamed, so a file of that name
// is whole; one whose header does not fit is taken as absent.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "kernels/base/result.hpp"
#include "runtime/store/file.hpp"

namespace sluice {

/// How often each id of the vocabulary comes.
using TokenCounts = std::vector<std::uint64_t>;

struct TokenCacheHeader {
  static constexpr std::uint64_t kMagic = 0x314B4F5445434C53;  // "SLCETOK1"

  std::uint64_t magic = kMagic;
  std::uint64_t key = 0;  ///< digest of everything that decides the tokens
  std::uint64_t vocab_size = 0;
  std::uint64_t bytes_per_id = 0;
  std::uint64_t train_tokens = 0;
  std::uint64_t validation_tokens = 0;
  std::uint64_t train_documents = 0;
  std::uint64_t validation_documents = 0;
  std::uint64_t digest = 0;  ///< of the fields above
};

enum class DataPart { kTrain, kValidation };

class TokenCacheWriter {
 public:
  /// Writes beside `path`; vocab_size >= 1.
  static Result<TokenCacheWriter> create(const std::filesystem::path& path, std::uint64_t key,
                                         std::uint64_t vocab_size);
  TokenCacheWriter(TokenCacheWriter&&) = default;
  TokenCacheWriter& operator=(TokenCacheWriter&&) = default;
  /// Removes what is not finished.
  ~TokenCacheWriter();

  /// Every id is in [0, vocab_size).
  Status append(DataPart part, std::span<const std::int32_t> ids);
  void count_document(DataPart part);
  /// Joins the parts, syncs and renames. Nothing may follow.
  Status finish();

 private:
  /// One part on its way to the disk.
  struct Stream {
    store::File file;
    std::uint64_t offset = 0;
    std::vector<std::byte> buffer;
    TokenCounts counts;
    std::uint64_t tokens = 0;
    std::uint64_t documents = 0;

    Status flush();
  };

  TokenCacheWriter() = default;
  Stream& stream(DataPart part) { return part == DataPart::kTrain ? train_ : validation_; }
  Status append_validation_file();

  std::filesystem::path path_;
  TokenCacheHeader header_;
  Stream train_;
  Stream validation_;
};

class TokenCache {
 public:
  /// nullopt if there is no whole cache of this key.
  static Result<std::optional<TokenCache>> open(const std::filesystem::path& path,
                                                std::uint64_t key);

  [[nodiscard]] std::uint64_t train_tokens() const { return header_.train_tokens; }
  [[nodiscard]] std::uint64_t validation_tokens() const { return header_.validation_tokens; }
  [[nodiscard]] std::uint64_t documents() const {
    return header_.train_documents + header_.validation_documents;
  }
  [[nodiscard]] const TokenCounts& train_counts() const { return train_counts_; }
  [[nodiscard]] const TokenCounts& validation_counts() const { return validation_counts_; }

  /// Gives the last `tokens` of the training part to the validation part, in this object alone.
  Status move_to_validation(std::uint64_t tokens);

  /// Fills `ids` from `offset` of a part; offset + size is within the part. Any thread.
  Status read(DataPart part, std::uint64_t offset, std::span<std::int32_t> ids) const;

 private:
  TokenCache() = default;
  Status read_at(std::uint64_t token, std::span<std::int32_t> ids) const;

  store::File file_;
  TokenCacheHeader header_;
  TokenCounts train_counts_;
  TokenCounts validation_counts_;
};

}  // namespace sluice
