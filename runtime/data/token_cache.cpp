// The writer keeps the validation part in a second file until the end; the reader reads in place.
#include "runtime/data/token_cache.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "kernels/base/check.hpp"
#include "kernels/base/digest.hpp"

namespace sluice {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBufferBytes = std::size_t{1} << 20;
constexpr std::uint64_t kVocabSizeMax = std::uint64_t{1} << 31;

std::uint64_t header_digest(const TokenCacheHeader& header) {
  return digest(std::as_bytes(std::span(&header, 1)).first(offsetof(TokenCacheHeader, digest)));
}

/// Unique to this process, so that two that build the same cache do not meet.
fs::path beside(const fs::path& path, std::string_view suffix) {
  return fs::path(path) += fmt::format(".{}.{}", ::getpid(), suffix);
}

template <class Stored>
void append_as(std::span<const std::int32_t> ids, std::vector<std::byte>& buffer) {
  const std::size_t before = buffer.size();
  buffer.resize(before + ids.size() * sizeof(Stored));
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const auto id = static_cast<Stored>(ids[i]);
    std::memcpy(buffer.data() + before + i * sizeof(Stored), &id, sizeof id);
  }
}

std::uint64_t file_bytes(const TokenCacheHeader& header) {
  return sizeof header + (header.train_tokens + header.validation_tokens) * header.bytes_per_id +
         2 * header.vocab_size * sizeof(std::uint64_t);
}

bool is_plausible(const TokenCacheHeader& header, std::uint64_t key, std::uint64_t size) {
  constexpr std::uint64_t kTokensMax = std::uint64_t{1} << 56;
  return header.magic == TokenCacheHeader::kMagic && header.key == key &&
         header.digest == header_digest(header) &&
         (header.bytes_per_id == 2 || header.bytes_per_id == 4) &&
         header.vocab_size <= kVocabSizeMax && header.train_tokens <= kTokensMax &&
         header.validation_tokens <= kTokensMax && file_bytes(header) == size;
}

}  // namespace

Result<TokenCacheWriter> TokenCacheWriter::create(const fs::path& path, std::uint64_t key,
                                                  std::uint64_t vocab_size) {
  SLUICE_CHECK_GE(vocab_size, 1u);
  SLUICE_CHECK_LE(vocab_size, kVocabSizeMax);
  SLUICE_TRY(store::make_directories(path.parent_path()));
  TokenCacheWriter writer;
  writer.path_ = path;
  writer.header_.key = key;
  writer.header_.vocab_size = vocab_size;
  writer.header_.bytes_per_id = vocab_size <= 0x10000 ? 2 : 4;
  SLUICE_ASSIGN(writer.train_.file, store::File::create(beside(path, "train"), 0));
  SLUICE_ASSIGN(writer.validation_.file, store::File::create(beside(path, "validation"), 0));
  writer.train_.offset = sizeof(TokenCacheHeader);
  for (Stream* stream : {&writer.train_, &writer.validation_}) stream->counts.resize(vocab_size);
  return writer;
}

TokenCacheWriter::~TokenCacheWriter() {
  if (path_.empty()) return;  // moved from
  std::error_code ignored;
  fs::remove(beside(path_, "train"), ignored);
  fs::remove(beside(path_, "validation"), ignored);
}

Status TokenCacheWriter::Stream::flush() {
  SLUICE_TRY(file.write_at(offset, buffer));
  offset += buffer.size();
  buffer.clear();
  return {};
}

Status TokenCacheWriter::append(DataPart part, std::span<const std::int32_t> ids) {
  Stream& out = stream(part);
  for (const auto id : ids) {
    SLUICE_CHECK(id >= 0 && static_cast<std::uint64_t>(id) < header_.vocab_size, "id {}", id);
    ++out.counts[static_cast<std::size_t>(id)];
  }
  out.tokens += ids.size();
  header_.bytes_per_id == 2 ? append_as<std::uint16_t>(ids, out.buffer)
                            : append_as<std::int32_t>(ids, out.buffer);
  return out.buffer.size() < kBufferBytes ? Status() : out.flush();
}

void TokenCacheWriter::count_document(DataPart part) { ++stream(part).documents; }

Status TokenCacheWriter::append_validation_file() {
  std::vector<std::byte> chunk;
  for (std::uint64_t at = 0; at < validation_.offset; at += chunk.size()) {
    chunk.resize(std::min<std::uint64_t>(kBufferBytes, validation_.offset - at));
    SLUICE_TRY(validation_.file.read_at(at, chunk));
    SLUICE_TRY(train_.file.write_at(train_.offset, chunk));
    train_.offset += chunk.size();
  }
  return {};
}

Status TokenCacheWriter::finish() {
  SLUICE_TRY(train_.flush());
  SLUICE_TRY(validation_.flush());
  SLUICE_TRY(append_validation_file());
  for (Stream* stream : {&train_, &validation_}) {
    const auto bytes = std::as_bytes(std::span(stream->counts));
    SLUICE_TRY(train_.file.write_at(train_.offset, bytes));
    train_.offset += bytes.size();
  }
  header_.train_tokens = train_.tokens;
  header_.validation_tokens = validation_.tokens;
  header_.train_documents = train_.documents;
  header_.validation_documents = validation_.documents;
  header_.digest = header_digest(header_);
  SLUICE_TRY(train_.file.write_at(0, std::as_bytes(std::span(&header_, 1))));
  SLUICE_TRY(train_.file.sync());
  SLUICE_TRY(store::rename_path(beside(path_, "train"), path_));
  return store::sync_directory(path_.parent_path());
}

Result<std::optional<TokenCache>> TokenCache::open(const fs::path& path, std::uint64_t key) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return std::nullopt;
  TokenCache cache;
  SLUICE_ASSIGN(cache.file_, store::File::open_read(path));
  TokenCacheHeader& header = cache.header_;
  if (cache.file_.size() < sizeof header) return std::nullopt;
  SLUICE_TRY(cache.file_.read_at(0, std::as_writable_bytes(std::span(&header, 1))));
  if (!is_plausible(header, key, cache.file_.size())) return std::nullopt;
  std::uint64_t at = cache.file_.size() - 2 * header.vocab_size * sizeof(std::uint64_t);
  for (TokenCounts* counts : {&cache.train_counts_, &cache.validation_counts_}) {
    counts->resize(header.vocab_size);
    const auto bytes = std::as_writable_bytes(std::span(*counts));
    SLUICE_TRY(cache.file_.read_at(at, bytes));
    at += bytes.size();
  }
  return cache;
}

Status TokenCache::move_to_validation(std::uint64_t tokens) {
  SLUICE_CHECK_LE(tokens, header_.train_tokens);
  const std::uint64_t begin = header_.train_tokens - tokens;
  std::vector<std::int32_t> chunk;
  for (std::uint64_t at = begin; at < header_.train_tokens; at += chunk.size()) {
    chunk.resize(std::min<std::uint64_t>(kBufferBytes, header_.train_tokens - at));
    SLUICE_TRY(read_at(at, chunk));
    for (const auto id : chunk) {
      --train_counts_[static_cast<std::size_t>(id)];
      ++validation_counts_[static_cast<std::size_t>(id)];
    }
  }
  header_.train_tokens = begin;
  header_.validation_tokens += tokens;
  return {};
}

Status TokenCache::read(DataPart part, std::uint64_t offset, std::span<std::int32_t> ids) const {
  const bool train = part == DataPart::kTrain;
  SLUICE_CHECK_LE(offset + ids.size(), train ? header_.train_tokens : header_.validation_tokens);
  return read_at(train ? offset : header_.train_tokens + offset, ids);
}

Status TokenCache::read_at(std::uint64_t token, std::span<std::int32_t> ids) const {
  const std::uint64_t at = sizeof header_ + token * header_.bytes_per_id;
  if (header_.bytes_per_id == 4) {
    SLUICE_TRY(file_.read_at(at, std::as_writable_bytes(ids)));
  } else {
    // The narrow ids go to the upper half of the output and widen from its front.
    const auto bytes = std::as_writable_bytes(ids).last(ids.size() * 2);
    SLUICE_TRY(file_.read_at(at, bytes));
    for (std::size_t i = 0; i < ids.size(); ++i) {
      std::uint16_t narrow;
      std::memcpy(&narrow, bytes.data() + i * 2, 2);
      ids[i] = narrow;
    }
  }
  for (const auto id : ids) {
    if (id < 0 || static_cast<std::uint64_t>(id) >= header_.vocab_size) {
      return failed("{} is damaged: id {} of a vocabulary of {}; remove the file",
                    file_.path().string(), id, header_.vocab_size);
    }
  }
  return {};
}

}  // namespace sluice
