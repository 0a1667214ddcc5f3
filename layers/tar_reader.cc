// The framer. It decides which byte of the archive is a file's content and which is not, as the tools that
// images are made and unpacked with do (Go's archive/tar, in docker, containerd, podman and buildah), because
// a reader that frames otherwise would show other files than they. Where readers in the world disagree, the
// archive is refused instead of guessed at.
//
//  - Members of types '1' to '6' have no content whatever their size field says (Go, libarchive for all but
//    hardlinks in pax archives, GNU tar for hardlinks). POSIX lets a pax hardlink carry its content again; no
//    image tool writes it, and read so its content would be taken for a header, whose checksum fails.
//  - '\0' with a name that ends in '/' is a directory of old tars; '0' is a file whatever its name.
//  - A sparse file's pieces follow each other without padding between them, in all formats.
//  - One zero block at the very end, or none, is an end as good as two; a zero block with anything but zeros
//    in the block behind it is refused (Go: refused; others stop or go on).
//  - A PAX path and a GNU long name for the same member, two extended headers in a row, or one with no member
//    behind it, are refused unless they say the same.
//  - Global extended headers hold for all members behind them, as POSIX has it.

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "layers/base/error.h"
#include "layers/tar.h"
#include "layers/tar_header.h"
#include "layers/tar_pax.h"
#include "layers/tar_sparse.h"

namespace surcoat {
namespace {

using tar::Header;
using tar::kBlock;
using tar::PaxFields;

constexpr std::size_t kBuffer = std::size_t{1} << 18;
/// From this size on, content goes from the source to the caller's buffer without passing through ours.
constexpr std::size_t kDirect = std::size_t{1} << 15;

std::string type_name(char type) {
    switch (type) {
        case 'D':
            return "'D' (a directory's listing in a GNU incremental backup)";
        case 'M':
            return "'M' (a file continued from another volume)";
        case 'N':
            return "'N' (old GNU tar's list of long names)";
        case 'V':
            return "'V' (a volume's label)";
        case 'X':
            return "'X' (Sun's extended header)";
        case 'A':
            return "'A' (Sun's access control list)";
        default:
            return fmt::format("'{}'", printable(std::string_view(&type, 1)));
    }
}

/// What extension headers have said of the member that is to come.
struct Pending {
    std::optional<PaxFields> pax;
    std::optional<std::string> long_name;
    std::optional<std::string> long_link;
    bool any() const { return pax || long_name || long_link; }
};

}  // namespace

struct TarReader::State {
    State(ByteSource& the_source, ByteSink* the_skeleton, TarLimits the_limits)
        : source(the_source), skeleton(the_skeleton), limits(the_limits), buffer(kBuffer) {}

    ByteSource& source;
    ByteSink* skeleton;
    TarLimits limits;

    std::vector<std::byte> buffer;
    std::size_t begin = 0;  ///< in buffer: read from the source, not yet consumed
    std::size_t end = 0;
    std::uint64_t position = 0;  ///< in the stream: of buffer[begin]

    PaxFields globals;
    std::uint64_t members = 0;
    std::uint64_t content_left = 0;
    std::size_t padding = 0;  ///< behind the content
    std::string path;         ///< of the current member, for messages
    std::uint64_t member_at = 0;
    bool ended = false;

    // Bytes.

    [[noreturn]] void damaged(std::uint64_t at, std::string_view why) const {
        const std::string member =
            path.empty() ? std::string() : fmt::format("member '{}': ", printable(path));
        throw Error(Errc::corrupt, fmt::format("tar archive is damaged at byte {}: {}{}", at, member, why))
            .hint("the archive was cut off or changed, or is no tar archive: make or fetch it again");
    }

    void consumed(std::uint64_t bytes) {
        position += bytes;
        if (position > limits.total_bytes) {
            throw Error(Errc::invalid,
                        fmt::format("tar archive has more than the {} bytes that are allowed here",
                                    limits.total_bytes));
        }
    }

    /// Reads until `wanted` bytes (at most a block) stand at `begin`, or the source ends; returns how many.
    std::size_t ensure(std::size_t wanted) {
        if (end - begin >= wanted) return end - begin;
        if (begin != 0) {
            std::memmove(buffer.data(), buffer.data() + begin, end - begin);
            end -= begin;
            begin = 0;
        }
        while (end < wanted) {
            const std::size_t n = source.read(MutableByteSpan(buffer).subspan(end));
            if (n == 0) break;
            end += n;
        }
        return end;
    }

    /// Consumes bytes that are there, as skeleton.
    ByteSpan take_skeleton(std::size_t bytes) {
        const ByteSpan taken = ByteSpan(buffer).subspan(begin, bytes);
        begin += bytes;
        consumed(bytes);
        if (skeleton != nullptr && bytes != 0) skeleton->write(taken);
        return taken;
    }

    /// One more block that must be there.
    ByteSpan take_block(std::string_view what) {
        const std::size_t n = ensure(kBlock);
        if (n < kBlock) damaged(position + n, fmt::format("the archive ends inside {}", what));
        return take_skeleton(kBlock);
    }

    // Members.

    void finish_member() {
        // Content that nobody read is skeleton: so the archive can be made again all the same.
        while (content_left != 0) {
            const std::size_t n = std::min<std::uint64_t>(ensure(1), content_left);
            if (n == 0) content_truncated();
            take_skeleton(n);
            content_left -= n;
        }
        if (padding != 0) {
            const std::size_t n = ensure(padding);
            if (n < padding) damaged(position + n, "the archive ends in the padding behind the content");
            take_skeleton(padding);
            padding = 0;
        }
    }

    [[noreturn]] void content_truncated() const {
        damaged(position,
                fmt::format("the archive ends inside the content, {} bytes are missing", content_left));
    }

    /// The body of an extension header: a whole number of blocks in the archive.
    std::string take_extension(const Header& header, std::string_view what) {
        const auto size = header.number(tar::kSize);
        if (!size || *size < 0) damaged(position - kBlock, fmt::format("the size of {} is no number", what));
        if (static_cast<std::uint64_t>(*size) > limits.pax_bytes) {
            throw Error(Errc::invalid,
                        fmt::format("tar archive, byte {}: {} of {} bytes is larger than the {} that are "
                                    "allowed",
                                    position - kBlock, what, *size, limits.pax_bytes));
        }
        std::string body;
        body.reserve(static_cast<std::size_t>(*size));
        for (auto left = static_cast<std::size_t>(*size); left != 0;) {
            const std::size_t n = std::min(left, kBlock);
            body += as_text(take_block(what).first(n));
            left -= n;
        }
        return body;
    }

    void take_pax(const Header& header, tar::PaxScope scope, PaxFields& fields) {
        const std::uint64_t at = position - kBlock;
        const std::string records = take_extension(header, "an extended header");
        if (const auto fault = tar::parse_pax(records, scope, fields)) damaged(at, *fault);
        std::size_t bytes = 0;
        for (const auto* xattrs : {&fields.xattrs, &fields.plain_xattrs}) {
            for (const auto& [name, value] : *xattrs) bytes += name.size() + value.size();
        }
        if (bytes > limits.xattr_bytes) {
            throw Error(Errc::invalid,
                        fmt::format("tar archive, byte {}: {} bytes of extended attributes are more than "
                                    "the {} that are allowed",
                                    at, bytes, limits.xattr_bytes));
        }
    }

    void take_long(const Header& header, std::optional<std::string>& name) {
        const std::uint64_t at = position - kBlock;
        if (name) damaged(at, "two GNU long names in a row");
        name = take_extension(header, "a GNU long name");
        name->resize(std::min(name->find('\0'), name->size()));
        if (name->empty()) damaged(at, "an empty GNU long name");
    }

    /// True if `header` is an extension and has been taken in.
    bool take_if_extension(const Header& header, Pending& pending) {
        if (std::string_view("gxLK").find(header.type()) == std::string_view::npos) return false;
        path.clear();  // of the member before it
        switch (header.type()) {
            case 'g':
                take_pax(header, tar::PaxScope::global, globals);
                return true;
            case 'x':
                if (pending.pax) damaged(position - kBlock, "two extended headers in a row for one member");
                pending.pax = globals;
                take_pax(header, tar::PaxScope::next_member, *pending.pax);
                return true;
            case 'L':
                take_long(header, pending.long_name);
                return true;
            default:
                take_long(header, pending.long_link);
                return true;
        }
    }

    /// At a block of zeros: the end of the archive. All that is left is skeleton.
    void take_end() {
        take_skeleton(kBlock);
        if (ensure(kBlock) >= kBlock && !Header(ByteSpan(buffer).subspan(begin, kBlock)).all_zero()) {
            damaged(position, "a single block of zeros stands between members");
        }
        while (const std::size_t n = ensure(1)) take_skeleton(n);
    }

    // One member's header.

    std::string name_of(const Header& header) const {
        const std::string_view name = header.text(tar::kName);
        std::string_view prefix;
        if (header.form() == Header::Form::ustar) prefix = header.text(tar::kPrefix);
        if (header.form() == Header::Form::star) prefix = header.text(tar::kStarPrefix);
        return prefix.empty() ? std::string(name) : fmt::format("{}/{}", prefix, name);
    }

    /// PAX over GNU over the header; both at once only if they agree.
    std::string choose(const std::optional<std::string>& pax, const std::optional<std::string>& gnu,
                       const std::string& plain, std::string_view what) const {
        if (pax && gnu && *pax != *gnu) {
            damaged(member_at,
                    fmt::format("an extended header and a GNU long name give two different {}", what));
        }
        return pax ? *pax : gnu ? *gnu : plain;
    }

    std::int64_t number(const Header& header, tar::Field field, std::string_view what) const {
        const auto value = header.number(field);
        if (!value)
            damaged(member_at, fmt::format("its {} '{}' is no number", what, printable(header.raw(field))));
        return *value;
    }

    std::uint32_t owner(const std::optional<std::uint64_t>& pax, const Header& header, tar::Field field,
                        std::string_view what) const {
        const std::int64_t value = pax ? static_cast<std::int64_t>(*pax) : number(header, field, what);
        // 2^32-1 is chown's "leave it": the kernel has no such owner.
        if (value < 0 || value >= std::numeric_limits<std::uint32_t>::max()) {
            damaged(member_at, fmt::format("its {} {} is not between 0 and 4294967294", what, value));
        }
        return static_cast<std::uint32_t>(value);
    }

    std::uint32_t device(const std::optional<std::uint64_t>& pax, const Header& header, tar::Field field,
                         std::string_view what) const {
        if (!pax && header.form() == Header::Form::v7) return 0;  // the field came with ustar
        const std::int64_t value = pax ? static_cast<std::int64_t>(*pax) : number(header, field, what);
        if (value < 0 || value > std::numeric_limits<std::uint32_t>::max()) {
            damaged(member_at, fmt::format("its {} {} is no device number", what, value));
        }
        return static_cast<std::uint32_t>(value);
    }

    FileType type_of(const Header& header, bool& is_hardlink) const {
        switch (header.type()) {
            case '\0':
                return path.ends_with('/') ? FileType::directory : FileType::regular;
            case '0':
            case '7':
            case 'S':
                return FileType::regular;
            case '1':
                is_hardlink = true;
                return FileType::regular;
            case '2':
                return FileType::symlink;
            case '3':
                return FileType::char_device;
            case '4':
                return FileType::block_device;
            case '5':
                return FileType::directory;
            case '6':
                return FileType::fifo;
            default:
                damaged(member_at,
                        fmt::format("its type {} is none that a layer may have", type_name(header.type())));
        }
    }

    TarMember read_member(const Header& header, Pending& pending) {
        const PaxFields& pax = pending.pax ? *pending.pax : globals;
        TarMember member;
        path.clear();  // messages from here on are about this member
        path = choose(pax.path, pending.long_name, name_of(header), "names");
        if (pax.sparse_name) path = *pax.sparse_name;
        member.path = path;
        if (path.empty()) damaged(member_at, "a member without a name");

        Inode& inode = member.inode;
        inode.type = type_of(header, member.is_hardlink);
        inode.mode = static_cast<std::uint16_t>(number(header, tar::kMode, "mode") & 07777);
        inode.uid = owner(pax.uid, header, tar::kUid, "user number");
        inode.gid = owner(pax.gid, header, tar::kGid, "group number");
        inode.mtime = pax.mtime ? *pax.mtime : Timestamp{number(header, tar::kMtime, "modification time"), 0};
        if (inode.type == FileType::char_device || inode.type == FileType::block_device) {
            inode.device_major = device(pax.device_major, header, tar::kDevMajor, "major device number");
            inode.device_minor = device(pax.device_minor, header, tar::kDevMinor, "minor device number");
        }
        if (member.is_hardlink || inode.type == FileType::symlink) {
            std::string target = choose(pax.link_path, pending.long_link,
                                        std::string(header.text(tar::kLinkName)), "link targets");
            (member.is_hardlink ? member.link_name : inode.link_target) = std::move(target);
        }
        if (!pax.plain_xattrs.empty() || !pax.xattrs.empty()) {
            // libarchive writes both forms of each; SCHILY's is the one all others read.
            std::set_union(pax.xattrs.begin(), pax.xattrs.end(), pax.plain_xattrs.begin(),
                           pax.plain_xattrs.end(), std::back_inserter(inode.xattrs),
                           [](const auto& a, const auto& b) { return a.first < b.first; });
        }
        read_content_size(header, pax, member);
        return member;
    }

    void read_content_size(const Header& header, const PaxFields& pax, TarMember& member) {
        const std::int64_t in_header = pax.size ? 0 : number(header, tar::kSize, "size");
        if (in_header < 0) damaged(member_at, fmt::format("its size {} is negative", in_header));
        const bool gnu_sparse = header.type() == 'S';
        if (gnu_sparse && header.form() != Header::Form::gnu)
            damaged(member_at, "a sparse file of GNU's in an archive that is not GNU's");
        if (member.is_hardlink || member.inode.type != FileType::regular) {
            if (pax.is_sparse()) damaged(member_at, "a sparse map for what is no regular file");
            return;
        }
        const std::uint64_t stored = pax.size ? *pax.size : static_cast<std::uint64_t>(in_header);
        if (gnu_sparse || pax.is_sparse()) {
            if (gnu_sparse && pax.is_sparse()) damaged(member_at, "two sparse maps of different formats");
            read_sparse(header, pax, stored, member);
        } else {
            member.inode.size = stored;
            if (stored != 0) member.extents = {{0, stored}};
            member.content_bytes = stored;
        }
        if (member.content_bytes > limits.total_bytes) {
            throw Error(
                Errc::invalid,
                fmt::format("tar archive, byte {}: member '{}' has {} bytes, more than the {} that are "
                            "allowed",
                            member_at, printable(path), member.content_bytes, limits.total_bytes));
        }
        content_left = member.content_bytes;
        padding = tar::padding_of(content_left);
    }

    void read_sparse(const Header& header, const PaxFields& pax, std::uint64_t stored, TarMember& member) {
        tar::SparseMap map;
        std::uint64_t map_bytes = 0;
        const auto check = [&](const std::optional<std::string>& fault) {
            if (fault) damaged(member_at, *fault);
        };
        const auto take_map_block = [&] {
            if ((map_bytes += kBlock) > limits.pax_bytes)
                damaged(member_at, fmt::format("its sparse map is larger than the {} bytes that are allowed",
                                               limits.pax_bytes));
            return take_block("a sparse map");
        };
        if (header.type() == 'S') {
            const std::int64_t real = number(header, tar::kGnuRealSize, "real size");
            if (real < 0) damaged(member_at, fmt::format("its real size {} is negative", real));
            member.inode.size = static_cast<std::uint64_t>(real);
            bool more = false;
            check(map.add_gnu_block(header.bytes(), true, more));
            while (more) check(map.add_gnu_block(take_map_block(), false, more));
        } else {
            if (!pax.sparse_size) damaged(member_at, "a sparse file whose real size is not given");
            member.inode.size = *pax.sparse_size;
            const std::uint64_t major = pax.sparse_major.value_or(0), minor = pax.sparse_minor.value_or(1);
            if (major == 1 && minor == 0) {
                if (pax.sparse_map)
                    damaged(member_at, "a sparse map in the extended header of a file that carries its own");
                for (bool more = true; more;) {
                    if (stored < kBlock) damaged(member_at, "its sparse map is longer than its content");
                    check(map.add_text_block(take_map_block(), more));
                    stored -= kBlock;
                }
            } else if (major == 0 && minor <= 1) {
                const std::vector<Extent> extents = pax.sparse_map.value_or(std::vector<Extent>{});
                if (pax.sparse_count && *pax.sparse_count != extents.size()) {
                    damaged(member_at, fmt::format("its sparse map has {} pieces instead of {}",
                                                   extents.size(), *pax.sparse_count));
                }
                map.set(extents);
            } else {
                damaged(member_at,
                        fmt::format("version {}.{} of GNU's sparse files is not known", major, minor));
            }
        }
        check(map.finish(member.inode.size, stored));
        member.extents = map.take();
        member.content_bytes = stored;
    }
};

TarReader::TarReader(ByteSource& archive, ByteSink* skeleton, TarLimits limits)
    : state_(std::make_unique<State>(archive, skeleton, limits)) {}
TarReader::~TarReader() = default;
TarReader::TarReader(TarReader&&) noexcept = default;

std::optional<TarMember> TarReader::next() {
    State& state = *state_;
    if (state.ended) return std::nullopt;
    state.finish_member();
    Pending pending;
    for (;;) {
        const std::size_t there = state.ensure(kBlock);
        if (there == 0) {
            if (pending.any())
                state.damaged(state.position,
                              "the archive ends behind an extended header, whose member is missing");
            state.ended = true;
            return std::nullopt;
        }
        if (there < kBlock) {
            state.damaged(
                state.position + there,
                fmt::format("the archive ends inside the next header, after {} of its 512 bytes", there));
        }
        const Header header(ByteSpan(state.buffer).subspan(state.begin, kBlock));
        if (header.all_zero()) {
            if (pending.any())
                state.damaged(state.position,
                              "an extended header stands at the end, whose member is missing");
            state.take_end();
            state.ended = true;
            return std::nullopt;
        }
        if (!header.checksum_matches()) {
            state.damaged(state.position, state.position == 0
                                              ? "this is no tar header (its checksum does not match)"
                                              : "the checksum of the next header does not match");
        }
        state.take_skeleton(kBlock);
        if (state.take_if_extension(header, pending)) continue;
        if (++state.members > state.limits.entries) {
            throw Error(Errc::invalid,
                        fmt::format("tar archive has more than the {} members that are allowed here",
                                    state.limits.entries));
        }
        state.member_at = state.position - kBlock;
        return state.read_member(header, pending);
    }
}

std::size_t TarReader::content(MutableByteSpan buffer) {
    State& state = *state_;
    const std::size_t wanted =
        static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), state.content_left));
    if (wanted == 0) return 0;
    std::size_t n = 0;
    if (state.begin == state.end && wanted >= kDirect) {
        n = state.source.read(buffer.first(wanted));
    } else {
        n = std::min(state.ensure(1), wanted);
        std::memcpy(buffer.data(), state.buffer.data() + state.begin, n);
        state.begin += n;
    }
    if (n == 0) state.content_truncated();
    state.consumed(n);
    state.content_left -= n;
    return n;
}

ByteSpan TarReader::content_chunk() {
    State& state = *state_;
    if (state.content_left == 0) return {};
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(state.ensure(1), state.content_left));
    if (n == 0) state.content_truncated();
    const ByteSpan chunk = ByteSpan(state.buffer).subspan(state.begin, n);
    state.begin += n;
    state.consumed(n);
    state.content_left -= n;
    return chunk;
}

std::uint64_t TarReader::position() const {
    return state_->position;
}

}  // namespace surcoat
