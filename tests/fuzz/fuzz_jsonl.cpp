// Any bytes as a .jsonl file of a corpus and as a text file: documents of well-formed text, or an
// error that names the line.
#include <cstdint>
#include <string>

#include "kernels/base/check.hpp"
#include "runtime/data/documents.hpp"
#include "runtime/tokenizer/utf8.hpp"
#include "tests/support/temporary_folder.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice;
  static const test::TemporaryFolder folder;
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  const CorpusFile lines{folder.write("corpus.jsonl", bytes), size, 0};
  const auto status = for_each_document(lines, [](const DocumentSlice& slice) -> Status {
    SLUICE_CHECK(!slice.text.empty());
    SLUICE_CHECK_EQ(utf8_valid_prefix(slice.text), slice.text.size());
    return {};
  });
  SLUICE_CHECK(status || status.error().message.starts_with(lines.path.string() + ":"));
  const CorpusFile text{folder.write("corpus.txt", bytes), size, 0};
  std::string joined;
  const auto read = for_each_document(text, [&](const DocumentSlice& slice) -> Status {
    joined += slice.text;
    return {};
  });
  SLUICE_CHECK(read.has_value());
  SLUICE_CHECK(joined == bytes);
  return 0;
}
