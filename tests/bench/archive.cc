// How fast archives are packed, unpacked and read. Give it an uncompressed tar, 100 MB or more:
//   tar -C / -cf /tmp/usr.tar usr/lib && bench_archive /tmp/usr.tar
// Times are CPU seconds of the process, threads included, best of three.
#include <fmt/format.h>
#include <sys/resource.h>
#include <zlib.h>

#include <algorithm>
#include <functional>

#include "layers/base/error.h"
#include "layers/base/file.h"
#include "layers/compression.h"
#include "layers/tar.h"
#include "layers/toc.h"

using namespace surcoat;

namespace {

double cpu_seconds() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

void measure(const std::string& what, std::size_t bytes, const std::function<std::string()>& work) {
    double best = 1e9;
    std::string note;
    for (int round = 0; round < 3; ++round) {
        const double start = cpu_seconds();
        note = work();
        best = std::min(best, cpu_seconds() - start);
    }
    fmt::print("{:<28} {:>9.1f} ms {:>9.0f} MB/s   {}\n", what, best * 1000,
               static_cast<double>(bytes) / best / 1e6, note);
}

std::string drain(ByteSource& source) {
    static std::vector<std::byte> buffer(1 << 20);
    std::uint64_t total = 0;
    while (const std::size_t n = source.read(buffer)) total += n;
    return fmt::format("{} bytes", total);
}

std::string pack(const std::string& plain, Compression compression) {
    StringSink sink;
    const auto compressor = compress(sink, compression);
    compressor->write(as_bytes(plain));
    compressor->finish();
    return std::move(sink.text);
}

std::string zlib_pack(const std::string& plain, int level) {
    z_stream stream{};
    deflateInit2(&stream, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
    std::string packed(deflateBound(&stream, plain.size()), '\0');
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(plain.data()));
    stream.avail_in = static_cast<uInt>(plain.size());
    stream.next_out = reinterpret_cast<Bytef*>(packed.data());
    stream.avail_out = static_cast<uInt>(packed.size());
    deflate(&stream, Z_FINISH);
    packed.resize(stream.total_out);
    deflateEnd(&stream);
    return packed;
}

std::string size_note(std::size_t size, std::size_t plain) {
    return fmt::format("{} bytes, {:.1f} %", size,
                       100.0 * static_cast<double>(size) / static_cast<double>(plain));
}

}  // namespace

int main(int argc, char** argv) try {
    if (argc != 2) {
        fmt::print(stderr, "usage: {} FILE.tar\n", argv[0]);
        return 2;
    }
    const std::string tar = read_file(argv[1], std::size_t{3} << 30);
    fmt::print("{} bytes\n", tar.size());
    for (const Compression compression : {Compression::gzip, Compression::zstd}) {
        std::string packed;
        measure(fmt::format("write {}", to_string(compression)), tar.size(), [&] {
            packed = pack(tar, compression);
            return size_note(packed.size(), tar.size());
        });
        measure(fmt::format("read {}", to_string(compression)), tar.size(), [&] {
            MemorySource source(packed);
            return drain(*decompress(source, compression));
        });
    }
    measure("(zlib level 6)", tar.size(), [&] { return size_note(zlib_pack(tar, 6).size(), tar.size()); });

    std::string skeleton_text;
    measure("frame, content by copy", tar.size(), [&] {
        MemorySource source(tar);
        StringSink skeleton;
        TarReader reader(source, &skeleton);
        static std::vector<std::byte> buffer(1 << 20);
        std::size_t members = 0;
        while (const auto member = reader.next()) {
            ++members;
            while (reader.content(buffer) != 0) {}
        }
        skeleton_text = std::move(skeleton.text);
        return fmt::format("{} members, {} bytes of skeleton", members, skeleton_text.size());
    });
    measure("frame, content in place", tar.size(), [&] {
        MemorySource source(tar);
        TarReader reader(source, nullptr);
        while (const auto member = reader.next()) {
            while (!reader.content_chunk().empty()) {}
        }
        return std::string();
    });
    // What the members alone cost: the same archive without its contents.
    std::string headers;
    {
        MemorySource source(tar);
        TarReader reader(source, nullptr);
        StringSink sink;
        TarWriter writer(sink);
        while (const auto member = reader.next()) {
            Entry entry;
            entry.path = normalise_path(member->path);
            entry.inode = member->inode;
            entry.inode.size = 0;
            writer.entry(entry);
        }
        writer.finish();
        headers = std::move(sink.text);
    }
    Toc toc;
    measure("parse members, no content", headers.size(), [&] {
        MemorySource source(headers);
        TarReader reader(source, nullptr);
        toc = {};
        while (auto member = reader.next()) {
            TocRecord& record = toc.records.emplace_back();
            record.entry.path = normalise_path(member->path);
            record.entry.inode = std::move(member->inode);
            validate_entry(record.entry);
        }
        return fmt::format("{} members", toc.records.size());
    });
    toc.skeleton_bytes = toc.archive_bytes = skeleton_text.size();
    for (TocRecord& record : toc.records) {  // an object for each file, as a real layer has
        if (record.entry.inode.type == FileType::regular) {
            record.entry.inode.object = ObjectId{sha256(as_bytes(record.entry.path))};
            record.entry.inode.size = 1;
        }
    }
    StringSink file;
    measure("write toc", tar.size(), [&] {
        file.text.clear();
        write_toc(file, toc, as_bytes(skeleton_text));
        return size_note(file.text.size(), tar.size());
    });
    measure("read toc", file.text.size(),
            [&] { return fmt::format("{} records", read_toc(as_bytes(file.text), "bench").records.size()); });
    return 0;
} catch (const Error& e) {
    fmt::print(stderr, "bench_archive: {}\n", e.what());
    return 1;
}
