// Transaction::import_layer: what it takes in comes out again, what it must refuse it refuses with the cause.
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>

#include "layers/base/process.h"
#include "layers/base/temp_dir.h"
#include "layers/store/fsck.h"
#include "layers/store/transaction.h"
#include "tests/support/archive.h"
#include "tests/support/requirements.h"

using namespace surcoat;
using namespace surcoat::test;

namespace {

using Options = Transaction::ImportOptions;
using Imported = Transaction::ImportedLayer;

struct Stage {
    TempDir directory;
    Store store{StoreOptions{.root = directory.path() / "store"}};

    Imported import(std::string_view archive, const Options& options = {}) {
        MemorySource source(archive);
        Transaction transaction(store, "test");
        Imported layer = transaction.import_layer(source, options);
        transaction.commit();
        return layer;
    }
    std::string archive(const DiffId& id) const {
        StringSink sink;
        store.write_archive(id, sink);
        return std::move(sink.text);
    }
    /// "path kind" of each entry, in order.
    std::vector<std::string> entries(const DiffId& id) const {
        static constexpr const char* kKinds[] = {"add", "hardlink", "whiteout", "opaque"};
        std::vector<std::string> lines;
        for (const Entry& entry : store.toc(id).entries()) {
            lines.push_back(printable(entry.path) + " " + kKinds[static_cast<int>(entry.kind)]);
        }
        return lines;
    }
    std::string content(const DiffId& id, const std::string& path) {
        const std::vector<DiffId> chain{id};
        const auto tree = store.tree(chain);
        const Tree::Node* node = tree->find(path);
        REQUIRE(node != nullptr);
        return node->inode->object ? read_file(store.open_object(*node->inode->object).get()) : std::string();
    }
    /// Nothing is wrong, and nothing lies about.
    void require_whole() {
        for (const Finding& finding : check_store(store, {.deep = true, .progress = nullptr})) {
            FAIL_CHECK(finding.what << ": " << finding.problem);
        }
    }
    std::size_t files() const {
        std::size_t count = 0;
        for (const auto& item : std::filesystem::recursive_directory_iterator(store.objects_directory())) {
            count += item.is_regular_file() ? 1 : 0;
        }
        return count;
    }
};

std::string directory(const std::string& name) {
    return header(Block{.name = name, .type = '5', .mode = 0755});
}
std::string link_to(const std::string& name, const std::string& target) {
    return header(Block{.name = name, .type = '1', .link = target});
}
std::string symlink_to(const std::string& name, const std::string& target) {
    return header(Block{.name = name, .type = '2', .link = target});
}

std::string compressed(const std::string& plain, Compression how) {
    if (how == Compression::bzip2) return run_command({"bzip2", "-c"}, plain).output;
    if (how == Compression::xz) return run_command({"xz", "-c"}, plain).output;
    StringSink sink;
    const auto compressor = compress(sink, how);
    compressor->write(as_bytes(plain));
    compressor->finish();
    return std::move(sink.text);
}

/// Content that no compressor shrinks much, the same every time.
std::string noise(std::size_t size, std::uint32_t seed = 1) {
    std::mt19937 engine(seed);
    std::string text(size, '\0');
    for (std::size_t at = 0; at + 4 <= size; at += 4) {
        const std::uint32_t word = static_cast<std::uint32_t>(engine());
        std::memcpy(text.data() + at, &word, sizeof word);
    }
    return text;
}

std::string small_archive() {
    return directory("./") + directory("d/") + file("d/a", "hello") + file("d/empty", "") +
           file("big", noise(5 << 20)) + link_to("d/b", "d/a") + symlink_to("s", "/d/a") + end_blocks();
}

/// What import_layer says about an archive; the Error must have a message for people.
Error refusal(Stage& stage, std::string_view archive, const Options& options = {}) {
    try {
        const Imported layer = stage.import(archive, options);
        FAIL("accepted as " << layer.diff_id.str());
    } catch (const Error& e) { return e; }
    throw std::logic_error("unreachable");
}

}  // namespace

TEST_CASE("an archive comes out byte for byte however it was compressed", "[store][import]") {
    const std::string plain = small_archive() + std::string("after the end");
    const auto how = GENERATE(Compression::none, Compression::gzip, Compression::zstd, Compression::bzip2,
                              Compression::xz);
    INFO(to_string(how));
    const std::string blob = how == Compression::none ? plain : compressed(plain, how);
    REQUIRE_FALSE(blob.empty());
    Stage stage;
    Options options;
    options.expected_blob = Digest::of(blob);
    options.expected_size = blob.size();
    options.expected_diff_id = DiffId{Digest::of(plain)};
    options.keep_blob = true;
    options.media_type = "application/x-test";
    options.base = true;
    const Imported layer = stage.import(blob, options);
    CHECK(layer.diff_id.digest == Digest::of(plain));
    CHECK(layer.blob == Digest::of(blob));
    CHECK(layer.blob_bytes == blob.size());
    CHECK(layer.archive_bytes == plain.size());
    CHECK(layer.compression == how);
    CHECK_FALSE(layer.existed);
    CHECK(stage.archive(layer.diff_id) == plain);
    CHECK(stage.store.read_blob(layer.blob) == blob);
    CHECK(stage.content(layer.diff_id, "d/b") == "hello");
    CHECK(stage.content(layer.diff_id, "d/empty").empty());
    CHECK(stage.content(layer.diff_id, "big") == noise(5 << 20));
    const auto row = stage.store.catalogue().layer_blob(layer.blob);
    REQUIRE(row);
    CHECK(row->diff_id == layer.diff_id);
    CHECK(row->compression == how);
    stage.require_whole();
}

TEST_CASE("an archive that real tar made comes out byte for byte", "[store][import]") {
    TempDir scratch;
    const auto tar = scratch.path() / "real.tar";
    const std::string format = GENERATE("gnu", "pax", "ustar", "v7", "oldgnu");
    INFO(format);
    run_command({"tar", "-C", "/usr/share", "--format=" + format, "-cf", tar.string(), "zoneinfo/Europe",
                 "zoneinfo/Etc"});
    const std::string archive = read_file(tar);
    REQUIRE(archive.size() > 10240);
    Stage stage;
    const Imported layer = stage.import(archive, {.base = true});
    CHECK(Digest::of(stage.archive(layer.diff_id)) == Digest::of(archive));
    CHECK(stage.content(layer.diff_id, "zoneinfo/Etc/UTC") == read_file("/usr/share/zoneinfo/Etc/UTC"));
    stage.require_whole();
}

TEST_CASE("a layer that is there already is verified and stages nothing", "[store][import]") {
    Stage stage;
    const std::string archive = small_archive();
    const Imported first = stage.import(archive);
    const std::size_t files = stage.files();
    const Imported second = stage.import(compressed(archive, Compression::gzip));
    CHECK(second.existed);
    CHECK(second.diff_id == first.diff_id);
    CHECK(stage.files() == files);
    CHECK(stage.store.catalogue().layer_blobs(first.diff_id).size() == 2);
    Options options;
    options.expected_blob = Digest::of("something else");
    CHECK(refusal(stage, archive, options).code() == Errc::corrupt);
    stage.require_whole();
}

TEST_CASE("whiteouts, repeated members and AUFS' own names become what they mean", "[store][import]") {
    struct Row {
        const char* what;
        std::string archive;
        std::vector<std::string> entries;
    };
    const std::vector<Row> rows = {
        {"a whiteout", file("d/.wh.gone", ""), {"d/gone whiteout"}},
        {"an opaque mark", directory("d") + file("d/.wh..wh..opq", ""), {"d add", "d opaque"}},
        {"an opaque root", file(".wh..wh..opq", ""), {" opaque"}},
        {"a whiteout twice", file(".wh.x", "") + file("y", "1") + file(".wh.x", ""), {"y add", "x whiteout"}},
        {"gone below, new here", file(".wh.x", "") + file("x", "1"), {"x whiteout", "x add"}},
        {"a directory twice", directory("d") + file("d/f", "1") + directory("d/"), {"d/f add", "d add"}},
        {"the root twice", directory("./") + directory("."), {" add"}},
        {"a file twice: the last counts",
         file("f", "old") + file("g", "1") + file("f", "new"),
         {"g add", "f add"}},
        {"a symlink over a file", file("f", "old") + symlink_to("f", "g"), {"f add"}},
        {"a link to below", link_to("here", "only/below"), {"here hardlink"}},
        {"an absolute link target", file("f", "1") + link_to("g", "/f"), {"f add", "g hardlink"}},
        {"AUFS' bookkeeping",
         file(".wh..wh.aufs", "") + directory(".wh..wh.plnk") + file(".wh..wh.plnk/1.2", "x") +
             file("f", "1"),
         {"f add"}},
        {"beneath a symlink", symlink_to("lib", "usr/lib") + file("lib/x", "1"), {"lib add", "lib/x add"}},
        {"names of any bytes", file("a\nb\xff", "1"), {printable("a\nb\xff") + " add"}},
    };
    for (const Row& row : rows) {
        INFO(row.what);
        Stage stage;
        const std::string archive = row.archive + end_blocks();
        const Imported layer = stage.import(archive);
        CHECK(stage.entries(layer.diff_id) == row.entries);
        CHECK(stage.archive(layer.diff_id) == archive);
        stage.require_whole();
    }
    Stage stage;
    const Imported twice = stage.import(file("f", "old") + file("f", "new") + end_blocks());
    CHECK(stage.content(twice.diff_id, "f") == "new");
}

TEST_CASE("what a layer must not say is refused with the member and the rule", "[store][import][hostile]") {
    struct Row {
        const char* what;
        std::string archive;
        Errc code;
        std::vector<std::string> says;
    };
    const std::string overlay = extended(record("SCHILY.xattr.trusted.overlay.redirect", "/etc"));
    const std::string user_overlay = extended(record("SCHILY.xattr.user.overlay.opaque", "y"));
    const std::vector<Row> rows = {
        {"..", file("../etc/passwd", "x"), Errc::invalid, {"../etc/passwd", ".."}},
        {".. in the middle", file("a/../../b", "x"), Errc::invalid, {"a/../../b"}},
        {".. as a hardlink's target", link_to("a", "../b"), Errc::invalid, {"'a'", "../b"}},
        {"a long name",
         file("a/" + std::string(60, 'x'), "") + long_name(std::string(256, 'n')) + file("n", "x"),
         Errc::invalid,
         {"255"}},
        {"the root as a file", file("./", "x"), Errc::invalid, {"root"}},
        {"the root as a symlink", symlink_to("./", "x"), Errc::invalid, {"root"}},
        {"a forged whiteout", header(Block{.name = "x", .type = '3'}), Errc::invalid, {"'x'", "0:0"}},
        {"a forged redirect", overlay + file("x", "1"), Errc::invalid, {"trusted.overlay.redirect"}},
        {"a forged opaque mark", user_overlay + directory("x"), Errc::invalid, {"user.overlay.opaque"}},
        {"a whiteout with content", file(".wh.x", "1"), Errc::invalid, {".wh.x", "empty regular file"}},
        {"a whiteout that is a directory",
         directory(".wh.x"),
         Errc::invalid,
         {".wh.x", "empty regular file"}},
        {"a whiteout that is a symlink", symlink_to(".wh.x", "y"), Errc::invalid, {".wh.x"}},
        {"a bare whiteout", file("d/.wh.", ""), Errc::corrupt, {".wh."}},
        {"a whiteout of .", file(".wh..", ""), Errc::corrupt, {".wh.."}},
        {"a whiteout of ..", file("d/.wh...", ""), Errc::corrupt, {".wh..."}},
        {"beneath a whiteout", file(".wh.x/y", "1"), Errc::invalid, {"beneath a whiteout"}},
        {"beneath a file",
         file("f", "1") + file("f/g", "1"),
         Errc::invalid,
         {"'f/g'", "'f'", "no directory"}},
        {"deep beneath a file", file("f", "1") + file("f/g/h/i", "1"), Errc::invalid, {"'f'"}},
        {"a whiteout beneath a file", file("f", "1") + file("f/.wh.g", ""), Errc::invalid, {"'f'"}},
        {"a link to a directory",
         directory("d") + link_to("l", "d"),
         Errc::invalid,
         {"'l'", "directory 'd'"}},
        {"a link to what becomes a directory",
         link_to("l", "d") + file("d/f", "1"),
         Errc::invalid,
         {"'l'", "'d'"}},
        {"a link to itself", link_to("l", "./l"), Errc::invalid, {"itself"}},
        {"a link to the root", link_to("l", "/"), Errc::invalid, {"root"}},
        {"a link to a whiteout", file(".wh.x", "") + link_to("l", ".wh.x"), Errc::invalid, {"whiteout"}},
        {"a file, then a directory", file("x", "1") + directory("x"), Errc::invalid, {"'x'", "twice"}},
        {"a directory, then a symlink",
         directory("x") + symlink_to("x", "/etc") + file("x/passwd", "1"),
         Errc::invalid,
         {"'x'"}},
        {"an implied directory, then a file", file("x/y", "1") + file("x", "1"), Errc::invalid, {"'x'"}},
        {"written through, then replaced",
         symlink_to("x", "/etc") + file("x/y", "1") + symlink_to("x", "/usr"),
         Errc::invalid,
         {"written through"}},
        {"linked to, then replaced",
         file("x", "1") + link_to("y", "x") + file("x", "2"),
         Errc::invalid,
         {"linked to"}},
        {"an unknown type", header(Block{.name = "x", .type = 'Q'}), Errc::corrupt, {"x"}},
        {"a bad checksum", header(Block{.name = "x", .wrong_checksum = true}), Errc::corrupt, {"checksum"}},
        {"nothing at all", "", Errc::corrupt, {"0 bytes"}},
        {"no archive", std::string(3000, 'z'), Errc::corrupt, {}},
    };
    for (const Row& row : rows) {
        INFO(row.what);
        Stage stage;
        const bool complete = row.says.empty() || row.says[0] == "0 bytes";
        const Error e =
            refusal(stage, complete ? row.archive : row.archive + end_blocks(), {.what = "the test's layer"});
        INFO(e.what());
        CHECK(e.code() == row.code);
        for (const std::string& text : row.says) CHECK_THAT(e.what(), Catch::Contains(text));
        CHECK_THAT(e.what(), Catch::StartsWith("cannot take in the test's layer"));
        if (e.code() == Errc::corrupt) CHECK_FALSE(e.hint().empty());
        CHECK(stage.store.catalogue().layers().empty());
        CHECK(stage.files() == 0);
        stage.require_whole();
    }
}

TEST_CASE("a base layer's hardlinks must have their targets in it", "[store][import]") {
    Stage stage;
    const std::string archive = link_to("here", "elsewhere") + end_blocks();
    CHECK(stage.entries(stage.import(archive).diff_id).size() == 1);
    const Error e = refusal(stage, archive, {.base = true});
    CHECK(e.code() == Errc::invalid);
    CHECK_THAT(e.what(), Catch::Contains("elsewhere"));
}

TEST_CASE("bytes that are not what was promised are corrupt, and the first cause is named",
          "[store][import][hostile]") {
    Stage stage;
    const std::string plain = directory("d") + file("d/noise", noise(3 << 20)) + end_blocks();
    const std::string gzip = compressed(plain, Compression::gzip);
    Options promised;
    promised.expected_blob = Digest::of(gzip);
    promised.expected_size = gzip.size();
    promised.expected_diff_id = DiffId{Digest::of(plain)};

    SECTION("cut off") {
        for (const auto how :
             {Compression::none, Compression::gzip, Compression::zstd, Compression::xz, Compression::bzip2}) {
            INFO(to_string(how));
            const std::string whole = how == Compression::none ? plain : compressed(plain, how);
            const Error e = refusal(stage, std::string_view(whole).substr(0, whole.size() / 2));
            INFO(e.what());
            CHECK(e.code() == Errc::corrupt);
            CHECK_FALSE(e.hint().empty());
            if (how == Compression::gzip) CHECK_THAT(e.what(), Catch::Contains("gzip"));
        }
    }
    SECTION("cut off, with a promise: the digest is the cause") {
        const std::string cut = gzip.substr(0, gzip.size() - 100);
        promised.expected_size.reset();
        const Error e = refusal(stage, cut, promised);
        INFO(e.what());
        CHECK(e.code() == Errc::corrupt);
        CHECK_THAT(e.what(),
                   Catch::Contains(Digest::of(gzip).str()) && Catch::Contains(Digest::of(cut).str()));
    }
    SECTION("one bit") {
        std::string damaged = gzip;
        damaged[damaged.size() / 2] ^= 1;
        const Error e = refusal(stage, damaged, promised);
        INFO(e.what());
        CHECK(e.code() == Errc::corrupt);
        CHECK_THAT(e.what(), Catch::Contains(Digest::of(damaged).str()));
    }
    SECTION("another blob digest, plain") {
        promised = {};
        promised.expected_blob = Digest::of("x");
        const Error e = refusal(stage, plain, promised);
        CHECK(e.code() == Errc::corrupt);
        CHECK_THAT(e.what(),
                   Catch::Contains(Digest::of("x").str()) && Catch::Contains(Digest::of(plain).str()));
    }
    SECTION("another DiffId") {
        promised.expected_diff_id = DiffId{Digest::of("x")};
        const Error e = refusal(stage, gzip, promised);
        CHECK(e.code() == Errc::corrupt);
        CHECK_THAT(e.what(), Catch::Contains("DiffId") && Catch::Contains(Digest::of(plain).str()));
    }
    SECTION("too long") {
        promised.expected_size = gzip.size() - 1;
        const Error e = refusal(stage, gzip, promised);
        CHECK(e.code() == Errc::corrupt);
        CHECK_THAT(e.what(), Catch::Contains(std::to_string(gzip.size() - 1)));
    }
    SECTION("too short") {
        promised.expected_size = gzip.size() + 1;
        const Error e = refusal(stage, gzip, promised);
        CHECK(e.code() == Errc::corrupt);
        CHECK_THAT(e.what(), Catch::Contains(std::to_string(gzip.size() + 1)) &&
                                 Catch::Contains(std::to_string(gzip.size())));
    }
    SECTION("something behind the gzip stream") {
        CHECK(refusal(stage, gzip + "garbage").code() == Errc::corrupt);
    }
    CHECK(stage.store.catalogue().layers().empty());
    stage.require_whole();
}

TEST_CASE("a source that fails is the error that is told", "[store][import]") {
    class Failing final : public ByteSource {
      public:
        explicit Failing(std::string bytes) : bytes_(std::move(bytes)), good_(bytes_) {}
        std::size_t read(MutableByteSpan buffer) override {
            const std::size_t n = good_.read(buffer);
            if (n == 0) throw Error(Errc::io, "the connection was lost").hint("try again");
            return n;
        }

      private:
        std::string bytes_;
        MemorySource good_;
    };
    const std::string plain = file("noise", noise(3 << 20));
    for (const auto how : {Compression::none, Compression::gzip, Compression::zstd}) {
        for (const bool promised : {false, true}) {
            INFO(to_string(how));
            Stage stage;
            std::string cut = how == Compression::none ? plain : compressed(plain, how);
            cut.resize(cut.size() - 1000);
            Failing source(cut);
            Transaction transaction(stage.store, "test");
            Options options;
            if (promised) options.expected_blob = Digest::of("all of it");
            try {
                transaction.import_layer(source, options);
                FAIL("accepted");
            } catch (const Error& e) {
                CHECK(e.code() == Errc::io);
                CHECK(e.message() == "the connection was lost");
                CHECK(e.hint() == "try again");
            }
        }
    }
}

TEST_CASE("an archive that grows a thousandfold is refused as a bomb", "[store][import][hostile]") {
    Stage stage;
    // 256 MiB of zeros: about 1:20000 in zstd, 1:1000 in gzip.
    const std::size_t size = std::size_t{256} << 20;
    StringSink sink;
    const auto compressor = compress(sink, Compression::zstd);
    Block block{.name = "zeros"};
    block.size = size;
    compressor->write(as_bytes(header(block)));
    const std::string zeros(1 << 20, '\0');
    for (std::size_t at = 0; at < size; at += zeros.size()) compressor->write(as_bytes(zeros));
    compressor->write(as_bytes(end_blocks()));
    compressor->finish();
    const Error e = refusal(stage, sink.text);
    CHECK(e.code() == Errc::invalid);
    CHECK_THAT(e.what(), Catch::Contains("bomb") && Catch::Contains("1000"));
    CHECK_FALSE(e.hint().empty());

    TarLimits limits;
    limits.total_bytes = 1 << 20;
    CHECK(refusal(stage, small_archive(), {.limits = limits}).code() != Errc::io);

    // Trusted, it takes no blocks: zeros are holes.
    const Imported layer = stage.import(sink.text, {.expansion_limit = 0});
    const std::vector<DiffId> chain{layer.diff_id};
    const auto object = stage.store.tree(chain)->find("zeros")->inode->object;
    REQUIRE(object);
    const auto st = lstat_path(stage.store.object_path(*object));
    REQUIRE(st);
    CHECK(static_cast<std::size_t>(st->st_size) == size);
    CHECK(st->st_blocks * 512 < (1 << 20));
}

TEST_CASE("memory does not grow with the archive", "[store][import]") {
    /// A tar of `files` members of 64 MiB, never in memory as a whole. Half of each 256 KiB is zeros.
    class Stream final : public ByteSource {
      public:
        explicit Stream(unsigned files) : files_(files) {}
        std::size_t read(MutableByteSpan buffer) override {
            if (at_ == piece_.size() && !next()) return 0;
            const std::size_t n = std::min(buffer.size(), piece_.size() - at_);
            std::copy_n(as_bytes(piece_).begin() + static_cast<std::ptrdiff_t>(at_), n, buffer.begin());
            at_ += n;
            return n;
        }

      private:
        const unsigned pieces_ = 256;
        bool next() {
            at_ = 0;
            if (file_ == files_) {
                piece_ = done_ ? std::string() : end_blocks();
                done_ = true;
                return !piece_.empty();
            }
            if (count_ == 0) {
                Block block{.name = fmt::format("f{}", file_)};
                block.size = std::uint64_t{pieces_} << 18;
                piece_ = header(block);
            } else {
                piece_.assign(1 << 18, '\0');
                piece_.replace(0, 16, fmt::format("{:8}{:8}", file_, count_));
            }
            if (count_++ == pieces_) {
                count_ = 0;
                ++file_;
            }
            return true;
        }
        unsigned files_;
        unsigned file_ = 0;
        unsigned count_ = 0;
        bool done_ = false;
        std::string piece_;
        std::size_t at_ = 0;
    };
    const auto peak_mib = [] {
        rusage usage{};
        ::getrusage(RUSAGE_SELF, &usage);
        return usage.ru_maxrss / 1024;
    };
    Stage stage;
    const auto import = [&](unsigned files) {
        Stream source(files);
        Transaction transaction(stage.store, "test");
        return transaction.import_layer(source, {}).archive_bytes;
    };
    import(1);
    const long before = peak_mib();
    CHECK(import(16) > (std::uint64_t{1} << 30));
    const long grown = peak_mib() - before;
    INFO("peak " << before << " MiB after 64 MiB, " << before + grown << " MiB after 1 GiB");
    CHECK(grown < 32);
}

TEST_CASE("a wrongly declared compression is read as what it is, with a warning", "[store][import]") {
    class Warnings final : public Progress {
      public:
        void warning(std::string_view text) override { texts.emplace_back(text); }
        void bytes(std::string_view, std::uint64_t done, std::uint64_t) override {
            seen = std::max(seen, done);
        }
        std::vector<std::string> texts;
        std::uint64_t seen = 0;
    };
    Stage stage;
    Warnings progress;
    Options options;
    options.compression = Compression::gzip;
    options.progress = &progress;
    const std::string blob = compressed(small_archive(), Compression::zstd);
    CHECK(stage.import(blob, options).compression == Compression::zstd);
    REQUIRE(progress.texts.size() == 1);
    CHECK_THAT(progress.texts[0], Catch::Contains("gzip") && Catch::Contains("zstd"));
    CHECK(progress.seen == blob.size());
}

TEST_CASE("sparse files keep their holes and their bytes", "[store][import]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_find("tar"));
    TempDir scratch;
    const auto path = scratch.path() / "sparse";
    const std::string version =
        GENERATE("--format=gnu", "--sparse-version=0.0", "--sparse-version=0.1", "--sparse-version=1.0");
    INFO(version);
    // Over 8 GiB, where numbers leave the header's octal field, once: all of it is hashed three times.
    const std::uint64_t size =
        version == "--sparse-version=1.0" ? std::uint64_t{9} << 30 : std::uint64_t{128} << 20;
    {
        const UniqueFd fd = open_file(path, O_RDWR | O_CREAT);
        pwrite_full(fd.get(), as_bytes("front"), 0);
        pwrite_full(fd.get(), as_bytes("back"), size - 4);
        const std::string small = "in the middle";
        write_file_durably(scratch.path() / "small", "");
        const UniqueFd other = open_file(scratch.path() / "small", O_RDWR);
        pwrite_full(other.get(), as_bytes(small), 1 << 20);
    }
    std::vector<std::string> argv{
        "tar", "-C", scratch.path().string(), "-Scf", (scratch.path() / "t").string(), version};
    if (version.find("version") != std::string::npos) argv.push_back("--format=pax");
    argv.insert(argv.end(), {"small", "sparse"});
    REQUIRE(run_command(argv).status.ok());
    const std::string archive = read_file(scratch.path() / "t");
    Stage stage;
    const Imported layer = stage.import(archive);
    CHECK(Digest::of(stage.archive(layer.diff_id)) == Digest::of(archive));
    CHECK(stage.content(layer.diff_id, "small") == read_file(scratch.path() / "small"));
    const std::vector<DiffId> chain{layer.diff_id};
    const auto inode = stage.store.tree(chain)->find("sparse")->inode;
    CHECK(inode->size == size);
    const UniqueFd object = stage.store.open_object(*inode->object);
    const struct stat st = stat_fd(object.get());
    CHECK(static_cast<std::uint64_t>(st.st_size) == size);
    CHECK(st.st_blocks * 512 < (1 << 20));
    char text[5]{};
    CHECK(pread_full(object.get(), std::as_writable_bytes(std::span(text, 4)), size - 4) == 4);
    CHECK(std::string(text) == "back");
}
