// Reads in chunks; only a JSONL line has to fit in memory as a whole.
#include "runtime/data/documents.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>

#include "runtime/store/file.hpp"
#include "runtime/tokenizer/utf8.hpp"

namespace sluice {
namespace {

using Each = std::function<Status(const DocumentSlice&)>;

/// Appends up to `bytes` more of the file to `buffer`.
Status append_chunk(const store::File& file, std::uint64_t& offset, std::size_t bytes,
                    std::string& buffer) {
  const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(bytes, file.size() - offset));
  const std::size_t before = buffer.size();
  buffer.resize(before + size);
  SLUICE_TRY(file.read_at(offset, std::as_writable_bytes(std::span(buffer).subspan(before))));
  offset += size;
  return {};
}

/// Where to cut a buffer that is not the file's end.
std::size_t slice_end(std::string_view buffer) {
  const auto newline = buffer.rfind('\n');
  if (newline != std::string_view::npos) return newline + 1;
  std::size_t end = buffer.size();
  for (int i = 0; i < 3 && end > 1 && (static_cast<unsigned char>(buffer[end - 1]) & 0xC0) == 0x80;
       ++i) {
    --end;
  }
  // Before a leading byte; a character that happens to be whole comes along with the next slice.
  return end > 1 && static_cast<unsigned char>(buffer[end - 1]) >= 0x80 ? end - 1 : end;
}

Status each_slice(const store::File& file, const Each& each) {
  std::string buffer;
  std::uint64_t offset = 0;
  bool first = true;
  while (offset < file.size() || !buffer.empty()) {
    SLUICE_TRY(append_chunk(file, offset, kSliceBytes, buffer));
    const bool last = offset == file.size();
    const std::size_t end = last ? buffer.size() : slice_end(buffer);
    const auto text = std::string_view(buffer).substr(0, end);
    SLUICE_TRY(each({.text = text, .document_bytes = file.size(), .first = first, .last = last}));
    buffer.erase(0, end);
    first = false;
  }
  return {};
}

Status take_line(const CorpusFile& file, std::size_t number, std::string_view line,
                 const Each& each) {
  if (std::all_of(line.begin(), line.end(),
                  [](char c) { return c == ' ' || c == '\t' || c == '\r'; })) {
    return {};
  }
  const auto text = jsonl_text(line);
  if (!text) {
    return in_context(fmt::format("{}:{}", file.path.string(), number), text.error());
  }
  if (text->empty()) return {};
  return each({.text = *text, .document_bytes = text->size()});
}

Status each_line(const CorpusFile& description, const store::File& file, const Each& each) {
  std::string buffer;
  std::uint64_t offset = 0;
  std::size_t number = 0, scanned = 0;  // no newline before `scanned`
  while (offset < file.size()) {
    SLUICE_TRY(append_chunk(file, offset, kSliceBytes, buffer));
    std::size_t begin = 0;
    for (std::size_t end; (end = buffer.find('\n', std::max(begin, scanned))) != std::string::npos;
         begin = end + 1) {
      SLUICE_TRY(take_line(description, ++number,
                           std::string_view(buffer).substr(begin, end - begin), each));
    }
    buffer.erase(0, begin);
    scanned = buffer.size();
    if (buffer.size() > kLineBytesMax) {
      return invalid_input("{}:{}: a line of more than {} bytes; cut the document up",
                           description.path.string(), number + 1, kLineBytesMax);
    }
  }
  return take_line(description, number + 1, buffer, each);
}

}  // namespace

Status for_each_document(const CorpusFile& file, const Each& each) {
  SLUICE_ASSIGN(const auto opened, store::File::open_read(file.path));
  return file.is_jsonl() ? each_line(file, opened, each) : each_slice(opened, each);
}

Result<std::string> jsonl_text(std::string_view line) {
  const std::string valid = to_valid_utf8(line);
  const auto json = nlohmann::json::parse(valid, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) {
    return invalid_input("the line is not JSON; expected {{\"text\": \"...\"}}");
  }
  if (!json.is_object()) {
    return invalid_input("the line is a JSON {}, expected {{\"text\": \"...\"}}", json.type_name());
  }
  const auto text = json.find("text");
  if (text == json.end()) return invalid_input("the line's object has no \"text\"");
  if (!text->is_string()) {
    return invalid_input("\"text\" is a JSON {}, expected a string", text->type_name());
  }
  return text->get<std::string>();
}

}  // namespace sluice
