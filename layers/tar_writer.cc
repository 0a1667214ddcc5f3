#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "layers/base/error.h"
#include "layers/tar.h"
#include "layers/tar_header.h"
#include "layers/tar_pax.h"
#include "layers/whiteout.h"

namespace surcoat {
namespace {

using tar::Header;
using tar::kBlock;

/// What a member's header says, gathered before it is known which form it needs.
struct Draft {
    std::string path;
    char type = '0';
    const Inode* inode = nullptr;
    std::string_view link;
    std::uint64_t size = 0;
};

/// Attributes of a file, for the headers of its other names: unpackers such as docker's apply a hardlink's
/// owner and mode to the file that it names.
struct Attributes {
    std::uint16_t mode;
    std::uint32_t uid, gid;
    Timestamp mtime;
};

char type_flag(FileType type) {
    switch (type) {
        case FileType::regular:
            return '0';
        case FileType::symlink:
            return '2';
        case FileType::char_device:
            return '3';
        case FileType::block_device:
            return '4';
        case FileType::directory:
            return '5';
        case FileType::fifo:
            return '6';
    }
    return '0';
}

/// Splits a path at a '/' into ustar's prefix and name: the earliest '/' that lets the name fit. False if
/// there is none.
bool set_path(Header& header, std::string_view path) {
    if (path.size() <= tar::kName.width) {
        header.set_text(tar::kName, path);
        return true;
    }
    if (path.size() > tar::kPrefix.width + 1 + tar::kName.width) return false;
    const std::size_t slash = path.find('/', path.size() - tar::kName.width - 1);
    // A directory's own '/' at the end is no place to split: the name would be empty.
    if (slash == std::string_view::npos || slash == 0 || slash > tar::kPrefix.width ||
        slash + 1 == path.size())
        return false;
    header.set_text(tar::kPrefix, path.substr(0, slash));
    header.set_text(tar::kName, path.substr(slash + 1));
    return true;
}

/// Stands in the header when the extended one has the real path: its end is what people recognise.
std::string_view short_name(std::string_view path) {
    while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
    path = path.substr(path.rfind('/') + 1);
    return path.substr(0, 80);
}

std::string xattr_record(const std::string& name, const std::string& value) {
    if (name.find('=') != std::string::npos) return tar::libarchive_xattr_record(name, value);
    return tar::pax_record("SCHILY.xattr." + name, value);
}

}  // namespace

struct TarWriter::State {
    explicit State(ByteSink& the_sink) : sink(the_sink) {}
    ByteSink& sink;
    std::uint64_t content_left = 0;
    std::size_t padding = 0;
    std::string path;
    bool finished = false;
    std::unordered_map<std::string, Attributes> written;  ///< files that a later hardlink may name

    void check_complete() const {
        if (finished) throw Error(Errc::failed, "a member was added to an archive that had been finished");
        if (content_left != 0) {
            throw Error(Errc::failed, fmt::format("content of '{}' is incomplete: {} bytes are missing",
                                                  printable(path), content_left))
                .hint("the file may have changed while it was read: try again");
        }
    }

    void zeros(std::size_t bytes) {
        static constexpr std::byte kZeros[2 * kBlock]{};
        if (bytes != 0) sink.write(ByteSpan(kZeros, bytes));
    }

    /// The extended header's records, in fixed order, for what did not fit into `header`, which is completed.
    std::string fill(Header& header, const Draft& draft) {
        const Inode& inode = *draft.inode;
        std::string records;
        const bool path_fits = set_path(header, draft.path);
        const bool link_fits = draft.link.size() <= tar::kLinkName.width;
        if ((!path_fits && !is_utf8(draft.path)) || (!link_fits && !is_utf8(draft.link))) {
            records += tar::pax_record("hdrcharset", "BINARY");  // POSIX: else names are UTF-8
        }
        if (!path_fits) {
            header.set_text(tar::kName, short_name(draft.path));
            records += tar::pax_record("path", draft.path);
        }
        // Cut if it must be, but never empty: libarchive 3.6 then has no target, whatever the record says.
        header.set_text(tar::kLinkName, draft.link);
        if (!link_fits) records += tar::pax_record("linkpath", draft.link);
        header.set_number(tar::kMode, inode.mode & 07777U);
        if (!header.set_number(tar::kSize, draft.size))
            records += tar::pax_record("size", std::to_string(draft.size));
        if (!header.set_number(tar::kUid, inode.uid))
            records += tar::pax_record("uid", std::to_string(inode.uid));
        if (!header.set_number(tar::kGid, inode.gid))
            records += tar::pax_record("gid", std::to_string(inode.gid));
        const bool past = inode.mtime.seconds < 0;
        const bool time_fits =
            header.set_number(tar::kMtime, past ? 0 : static_cast<std::uint64_t>(inode.mtime.seconds));
        if (!time_fits || past || inode.mtime.nanoseconds != 0)
            records += tar::pax_record("mtime", tar::pax_time(inode.mtime));
        header.set_type(draft.type);
        const bool device = draft.type == '3' || draft.type == '4';
        if (!header.set_number(tar::kDevMajor, device ? inode.device_major : 0)) {
            records += tar::pax_record("SCHILY.devmajor", std::to_string(inode.device_major));
        }
        if (!header.set_number(tar::kDevMinor, device ? inode.device_minor : 0)) {
            records += tar::pax_record("SCHILY.devminor", std::to_string(inode.device_minor));
        }
        if (draft.type != '1') {
            for (const auto& [name, value] : inode.xattrs) records += xattr_record(name, value);
        }
        header.set_checksum();
        return records;
    }

    void write_extended(const Draft& draft, const std::string& records) {
        Header header;
        header.set_text(tar::kName, fmt::format("PaxHeaders/{}", short_name(draft.path)));
        header.set_number(tar::kMode, 0644);
        header.set_number(tar::kUid, 0);
        header.set_number(tar::kGid, 0);
        header.set_number(tar::kSize, records.size());
        header.set_number(tar::kMtime, 0);
        header.set_number(tar::kDevMajor, 0);
        header.set_number(tar::kDevMinor, 0);
        header.set_type('x');
        header.set_checksum();
        sink.write(header.bytes());
        sink.write(as_bytes(records));
        zeros(tar::padding_of(records.size()));
    }

    void write(const Draft& draft) {
        Header header;
        const std::string records = fill(header, draft);
        if (!records.empty()) write_extended(draft, records);
        sink.write(header.bytes());
        path = draft.path;
        content_left = draft.size;
        padding = tar::padding_of(draft.size);
    }
};

TarWriter::TarWriter(ByteSink& sink) : state_(std::make_unique<State>(sink)) {}
TarWriter::~TarWriter() = default;

void TarWriter::entry(const Entry& entry, Timestamp marker_mtime) {
    State& state = *state_;
    state.check_complete();
    Draft draft;
    Inode stand_in;  // for members that are no inode of their own
    draft.path = entry.path;
    draft.inode = &entry.inode;
    switch (entry.kind) {
        case Entry::Kind::add: {
            const Inode& inode = entry.inode;
            draft.type = type_flag(inode.type);
            if (inode.type == FileType::regular) draft.size = inode.size;
            if (inode.type == FileType::symlink) draft.link = inode.link_target;
            if (inode.type == FileType::directory) draft.path = entry.path.empty() ? "./" : entry.path + "/";
            if (inode.type != FileType::directory) {
                state.written.insert_or_assign(entry.path,
                                               Attributes{inode.mode, inode.uid, inode.gid, inode.mtime});
            }
            break;
        }
        case Entry::Kind::hardlink: {
            draft.type = '1';
            draft.link = entry.target;
            stand_in = entry.inode;
            if (const auto target = state.written.find(entry.target); target != state.written.end()) {
                stand_in.mode = target->second.mode;
                stand_in.uid = target->second.uid;
                stand_in.gid = target->second.gid;
                stand_in.mtime = target->second.mtime;
            }
            draft.inode = &stand_in;
            break;
        }
        case Entry::Kind::whiteout:
        case Entry::Kind::opaque:
            draft.path = entry.kind == Entry::Kind::whiteout ? oci_whiteout_path(entry.path)
                                                             : oci_opaque_path(entry.path);
            stand_in.mtime = marker_mtime;
            draft.inode = &stand_in;
            break;
    }
    if (draft.path.empty())
        throw Error(Errc::invalid, "a member of an archive needs a name: only a directory can be the root");
    state.write(draft);
}

void TarWriter::content(ByteSpan bytes) {
    State& state = *state_;
    if (bytes.size() > state.content_left) {
        throw Error(Errc::failed, fmt::format("content of '{}' is {} bytes longer than its header says",
                                              printable(state.path), bytes.size() - state.content_left))
            .hint("the file may have changed while it was read: try again");
    }
    if (bytes.empty()) return;
    state.sink.write(bytes);
    state.content_left -= bytes.size();
    if (state.content_left == 0) state.zeros(std::exchange(state.padding, 0));
}

void TarWriter::finish() {
    state_->check_complete();
    state_->zeros(2 * kBlock);
    state_->finished = true;
}

}  // namespace surcoat
