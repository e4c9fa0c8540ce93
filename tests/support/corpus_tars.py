"""The tars of the corpus: as tools write them, and as dialects and mistakes of fifty years have them."""

# ruff: noqa: E501 - a row for each archive

from __future__ import annotations

import base64

from support.corpus import (
    A_TIME,
    END,
    Item,
    extended,
    header,
    member,
    odd,
    packed,
    plain,
    shell,
    special,
    timed,
    written,
)

V7, GNU = b"\0" * 8, b"ustar  \0"
_SORTED = ("--sort=name", "-C", "TREE", ".")

TOOLS = [
    Item("GNU tar, v7", packed(plain, "tar", "--format=v7", "-cf", "OUT", *_SORTED)),
    Item("GNU tar, ustar", packed(plain, "tar", "--format=ustar", "-cf", "OUT", *_SORTED)),
    Item("GNU tar, oldgnu", packed(odd, "tar", "--format=oldgnu", "-cf", "OUT", *_SORTED)),
    Item("GNU tar, gnu", packed(odd, "tar", "--format=gnu", "-cf", "OUT", *_SORTED)),
    Item("GNU tar, pax", packed(odd, "tar", "--format=pax", "-cf", "OUT", *_SORTED)),
    Item("GNU tar, attributes", packed(odd, "tar", "--xattrs", "-cf", "OUT", *_SORTED)),
    Item("GNU tar, attributes, lists, labels", packed(odd, "tar", "--xattrs", "--xattrs-include=*", "--acls", "--selinux", "-cf", "OUT", *_SORTED)),
    Item("GNU tar, what no image has", packed(special, "tar", "-cf", "OUT", *_SORTED)),
    Item("GNU tar, absolute names", packed(plain, "tar", "-P", "-cf", "OUT", "--transform=s,^\\.,/,", *_SORTED)),
    Item("GNU tar, reverse order", shell(plain, 'find . | sort -r | tar -cf "$OUT" --no-recursion -T -')),
    Item("GNU tar, without directories", shell(plain, 'find . ! -type d | sort | tar -cf "$OUT" -T -')),
    Item("GNU tar, the same place twice", packed(plain, "tar", "-cf", "OUT", "-C", "TREE", "bin", "usr", "usr/lib", "bin")),
    Item("GNU tar, links dereferenced", packed(plain, "tar", "--hard-dereference", "-cf", "OUT", *_SORTED)),
    Item("GNU tar, blocks of 64 KiB", packed(plain, "tar", "-b", "128", "-cf", "OUT", *_SORTED)),
    Item("GNU tar, a label", packed(plain, "tar", "--format=gnu", "-V", "a volume", "-cf", "OUT", *_SORTED)),
    Item("GNU tar, a label in pax", packed(plain, "tar", "--format=pax", "-V", "a volume", "-cf", "OUT", *_SORTED)),
    Item("GNU tar, incremental in gnu", packed(plain, "tar", "--format=gnu", "-g", "OUT.seen", "-cf", "OUT", *_SORTED), "GNU tar -G"),
    Item("GNU tar, incremental in oldgnu", packed(odd, "tar", "--format=oldgnu", "-g", "OUT.seen", "-cf", "OUT", *_SORTED), "GNU tar -G"),
    Item("GNU tar, incremental in pax", packed(odd, "tar", "--format=pax", "-g", "OUT.seen", "-cf", "OUT", *_SORTED), "GNU tar -G"),
    Item("GNU tar, incremental of one directory", packed(plain, "tar", "--format=gnu", "-g", "OUT.seen", "-cf", "OUT", "-C", "TREE", "bin"), "GNU tar -G"),
    *(
        Item(f"GNU tar, holes, version {version}", packed(odd, "tar", "--format=pax", "--sparse", f"--sparse-version={version}", "-cf", "OUT", *_SORTED))
        for version in ("0.0", "0.1", "1.0")
    ),
    Item("GNU tar, holes, gnu", packed(odd, "tar", "--format=gnu", "--sparse", "-cf", "OUT", *_SORTED)),
    Item("GNU tar, many holes, gnu", shell(plain, 'for i in $(seq 60); do printf x | dd of=holes bs=8192 seek=$((i * 3)) conv=notrunc status=none; done; tar --format=gnu -S -cf "$OUT" .')),
    Item("GNU tar, many holes, pax", shell(plain, 'for i in $(seq 60); do printf x | dd of=holes bs=8192 seek=$((i * 3)) conv=notrunc status=none; done; tar --format=pax -S -cf "$OUT" .')),
    Item("GNU tar, times in pax", packed(timed, "tar", "--format=pax", "-cf", "OUT", *_SORTED)),
    Item("GNU tar, times in gnu", packed(timed, "tar", "--format=gnu", "-cf", "OUT", *_SORTED)),
    Item("GNU tar, ids beyond octal in gnu", packed(plain, "tar", "--format=gnu", "--owner=:3000000", "--group=:4000000000", "-cf", "OUT", *_SORTED)),
    Item("GNU tar, ids beyond octal in pax", packed(plain, "tar", "--format=pax", "--owner=:3000000", "--group=:65535", "-cf", "OUT", *_SORTED)),
    Item("GNU tar, global pax records", packed(plain, "tar", "--format=pax", "--pax-option=comment=x,globexthdr.name=g,uid=1234", "-cf", "OUT", *_SORTED)),
    Item("GNU tar, records for every member", packed(plain, "tar", "--format=pax", "--pax-option=uid:=77,gid:=78", "-cf", "OUT", *_SORTED)),
    Item("GNU tar, appended to", shell(plain, 'tar -cf "$OUT" bin; echo new >bin/one; tar -rf "$OUT" etc bin usr')),
    Item("GNU tar, two archives", shell(plain, 'tar -cf "$OUT" bin; tar -cf - etc >>"$OUT"')),
    Item("GNU tar, joined", shell(plain, 'tar -cf "$OUT" bin; tar -cf ../b etc; tar -Af "$OUT" ../b')),
    Item("GNU tar, a second volume", shell(odd, 'tar -c --format=gnu -M -L 100 -f ../one -f "$OUT" etc owned hole </dev/null || test -s "$OUT"'),
         ours="refused", why="A file continued from another volume is only half a file. GNU tar skips it and fails at the end."),
    *(
        Item(f"bsdtar, {name}", packed(tree, "bsdtar", f"--format={name}", "-cf", "OUT", "-C", "TREE", "."), "bsdtar")
        for name, tree in (("v7", plain), ("ustar", plain), ("gnutar", odd), ("pax", odd), ("paxr", plain))
    ),
    *(
        Item(f"GNU cpio, {name}", shell(plain, f'find . | sort | cpio --quiet -o -H {name} >"$OUT"'))
        for name in ("tar", "ustar")
    ),
    Item("busybox tar", packed(plain, "busybox", "tar", "-cf", "OUT", "-C", "TREE", ".")),
    *(
        Item(f"Python, {name}", packed(odd if name != "USTAR" else plain, "python3", "-c", f"import tarfile; t = tarfile.open('OUT', 'w', format=tarfile.{name}_FORMAT); t.add('.'); t.close()"))
        for name in ("USTAR", "GNU", "PAX")
    ),
]  # fmt: skip
"""What tools write."""

_ATIME = {345: b"%011o\0" % A_TIME, 357: b"%011o\0" % A_TIME}
_STAR = {345: b"some/where", 476: b"%011o " % A_TIME, 488: b"%011o " % A_TIME, 508: b"tar\0"}
_NOISE = {265: bytes(range(1, 248))}
_XATTR = {
    b"LIBARCHIVE.xattr.user.a%20b": base64.b64encode(b"x\0y").rstrip(b"="),
    b"SCHILY.xattr.user.c": b"d=e\n",
}

CRAFTED = [
    Item("GNU header with times", written(member(b"bin/one", b"DATA\n", magic=GNU, fields=_ATIME))),
    Item("GNU header with a prefix that is none", written(member(b"one", b"DATA\n", magic=GNU, fields={345: b"etc"}))),
    Item("POSIX header with a prefix", written(member(b"one", b"DATA\n", fields={345: b"etc"}))),
    Item("a prefix of all its 155 bytes", written(member(b"n" * 100, b"x", fields={345: b"p" * 155}))),
    Item("star header", written(member(b"one", b"DATA\n", fields=_STAR))),
    Item("v7 header with noise behind it", written(member(b"bin/one", b"DATA\n", magic=V7, fields=_NOISE))),
    Item("v7 header with a prefix that is none", written(member(b"one", b"DATA\n", magic=V7, fields={345: b"etc"}))),
    Item("v7 directory", written(member(b"bin/", kind=b"\0", magic=V7), member(b"bin/one", b"x", kind=b"\0", magic=V7))),
    Item("v7 link", written(member(b"one", b"x", kind=b"\0", magic=V7), member(b"two", kind=b"1", magic=V7, link=b"one"))),
    Item("a directory by its slash alone", written(member(b"bin/"), member(b"bin/one", b"x"))),
    Item("a contiguous file", written(member(b"one", b"DATA\n", b"7"))),
    Item("a type of the future", written(member(b"one", b"DATA\n", b"Z"), member(b"two", b"x"))),
    Item("Solaris: an extended header", written(extended({b"path": b"etc/long"}, b"X"), member(b"short", b"x"))),
    Item("Solaris: an access list", written(member(b"one", b"user::rw-", b"A"), member(b"one", b"x")), "bsdtar"),
    Item("Solaris: attributes", written(member(b"one", b"attributes", b"E"), member(b"two", b"x")), ours={"one": None, "two": b"x"},
         why="GNU tar turns Solaris attributes into a file, which nobody wants. We leave them out and list them."),
    Item("a link with a size and no data", written(member(b"one", b"DATA\n"), header(b"two", b"1", 5, link=b"one"), member(b"three", b"x"))),
    Item("a link with its data", written(extended({b"comment": b"pax"}), member(b"one", b"DATA\n"), member(b"two", b"DATA\n", b"1", link=b"one"), member(b"three", b"x")), "bsdtar"),
    Item("a link whose data is new", written(extended({b"comment": b"pax"}), member(b"one", b"old"), member(b"two", b"newer", b"1", link=b"one")), "bsdtar"),
    Item("a link to a later name", written(member(b"two", kind=b"1", link=b"one"), member(b"one", b"DATA\n")), ours={"one": b"DATA\n", "two": b"DATA\n"},
         why="GNU tar and bsdtar fail. The intention is clear, so we make the link at the end."),
    Item("a chain of links to later names", written(member(b"a", kind=b"1", link=b"b"), member(b"b", kind=b"1", link=b"c"), member(b"c", b"x")), ours={"a": b"x", "b": b"x", "c": b"x"},
         why="As above."),
    Item("a link to itself", written(member(b"one", b"DATA\n"), member(b"one", kind=b"1", link=b"one"))),
    Item("a link to itself by another way", written(member(b"bin", kind=b"5"), member(b"bin/one", b"x"), member(b"way", kind=b"2", link=b"bin"), member(b"way/one", kind=b"1", link=b"bin/one"))),
    Item("a link to nothing", written(member(b"one", kind=b"1", link=b"none")), ours="refused", why="The image would lack a file. GNU tar also fails, at the end."),
    Item("a link to a device", written(member(b"one", kind=b"3"), member(b"two", kind=b"1", link=b"one"), member(b"three", b"x")), ours={"one": None, "two": None, "three": b"x"},
         why="Devices are left out, and so are their other names."),
    Item("a link over an older file", written(member(b"one", b"1"), member(b"two", b"2"), member(b"two", kind=b"1", link=b"one"))),
    Item("a directory with a size", written(header(b"bin", b"5", 4096), member(b"bin/one", b"x")), "bsdtar"),
    Item("a symbolic link with a size", written(header(b"way", b"2", 7, link=b"bin/one"), member(b"one", b"x"))),
    Item("a FIFO with a size", written(header(b"pipe", b"6", 5), member(b"one", b"x")), ours={"one": b"x"},
         why="A FIFO has no data, whatever size its header gives; GNU tar mistakes the next header for data."),
    Item("a signed checksum", written(member("ünï".encode(), b"x", signed=True))),
    Item("a checksum of seven digits", written(member(b"one", b"x", checksum=b"%07o\0"))),
    Item("a checksum with spaces before", written(member(b"one", b"x", checksum=b"%6o\0 "))),
    Item("numbers with spaces before", written(member(b"one", b"x", fields={100: b"   644 \0", 108: b"   101 \0"}))),
    Item("numbers without end", written(member(b"one", b"x", fields={100: b"00000644", 136: b"%012o" % A_TIME}))),
    Item("blank numbers", written(member(b"one", b"x", fields={329: b" " * 16})), "bsdtar"),
    Item("a binary size", written(header(b"one", b"0", 0, fields={124: b"\x80" + bytes(10) + b"\x05"}), b"DATA\n".ljust(512, b"\0"))),
    Item("a negative binary time", written(member(b"one", b"x", magic=GNU, fields={136: b"\xff" * 11 + b"\x85"}))),
    Item("a time after 2242", written(member(b"one", b"x", magic=GNU, fields={136: b"\x80" + (9_000_000_000).to_bytes(11, "big")}))),
    Item("a mode with the type", written(member(b"one", b"x", fields={100: b"0100755\0"}))),
    Item("pax: a name", written(extended({b"path": b"etc/" + b"n" * 200}), member(b"short", b"x"))),
    Item("pax: a name with a newline", written(extended({b"path": b"a\nb=c"}), member(b"short", b"x"))),
    Item("pax: a name of any bytes", written(extended({b"hdrcharset": b"BINARY", b"path": b"caf\xe9"}), member(b"short", b"x"))),
    Item("pax: a target", written(extended({b"linkpath": b"t" * 300}), member(b"way", kind=b"2", link=b"short"))),
    Item("pax: a size", written(extended({b"size": b"5"}), header(b"one", b"0", 0), b"DATA\n".ljust(512, b"\0"))),
    Item("pax: an empty value", written(extended({b"path": b""}), member(b"one", b"x")), "bsdtar"),
    Item("pax: ids", written(extended({b"uid": b"60000", b"gid": b"5000000"}), member(b"one", b"x"))),
    Item("pax: a time to the nanosecond", written(extended({b"mtime": b"1600000000.123456789123"}), member(b"one", b"x"))),
    Item("pax: a time before 1970", written(extended({b"mtime": b"-1.5"}), member(b"one", b"x"))),
    Item("pax: for all members", written(extended({b"gid": b"55"}, b"g"), member(b"one", b"x"), extended({b"gid": b"66"}), member(b"two", b"x"), member(b"three", b"x"))),
    Item("pax: attributes of both kinds", written(extended(_XATTR), member(b"one", b"x")), "bsdtar"),
    Item("pax: an attribute that no image has", written(extended({b"SCHILY.xattr.security.capability": b"\1\0\0\2" + bytes(16), b"SCHILY.acl.access": b"user::rw-"}), member(b"one", b"x"))),
    Item("GNU: a long name and a long target", written(member(b"././@LongLink", b"t" * 200 + b"\0", b"K", magic=GNU), member(b"././@LongLink", b"n" * 200 + b"\0", b"L", magic=GNU), member(b"n", kind=b"2", link=b"t", magic=GNU))),
    Item("GNU: a long name without a zero byte", written(member(b"././@LongLink", b"n" * 200, b"L", magic=GNU), member(b"n", b"x", magic=GNU)), "bsdtar"),
    Item("GNU: a volume's label", written(member(b"label", kind=b"V", magic=GNU), member(b"one", b"x", magic=GNU))),
    Item("GNU: a dumped directory", written(member(b"bin/", b"Yone\0\0", b"D", magic=GNU), member(b"bin/one", b"x", magic=GNU)), "GNU tar -G"),
    Item("a name twice", written(member(b"one", b"old"), member(b"one", b"new"))),
    Item("a file where a link was", written(member(b"two", b"2"), member(b"one", kind=b"2", link=b"two"), member(b"one", b"new"))),
    Item("a link where a file was", written(member(b"one", b"x"), member(b"one", kind=b"2", link=b"two"))),
    Item("a directory twice", written(member(b"bin", kind=b"5"), member(b"bin/one", b"x"), member(b"bin", kind=b"5", fields={100: b"0000700\0"}))),
    Item("a file where a directory was", written(member(b"one", kind=b"5"), member(b"one/two", b"x"), member(b"one", b"new")), ours={"one": b"new"},
         why="The later member wins, whatever its type, as in a layer. GNU tar fails."),
    Item("a directory where a file was", written(member(b"one", b"x"), member(b"one", kind=b"5"))),
    Item("slashes and dots", written(member(b".//bin/./one//", kind=b"5"), member(b"./bin//one/./two", b"x")), "bsdtar"),
    Item("through a symbolic link", written(member(b"usr/lib/two", b"x"), member(b"lib", kind=b"2", link=b"usr/lib"), member(b"lib/one", b"x"))),
    Item("nothing but the end", written()),
    Item("a lone block of zeros at the end", written(member(b"one", b"x"), end=bytes(512))),
    Item("something after the end", written(member(b"one", b"x"), end=END + b"y" * 5000)),
    Item("no end", written(member(b"one", b"x"), end=b""), ours="refused",
         why="A truncated download looks the same. Layers, which have a digest, and compressed archives may lack it."),
    Item("the last block cut", written(header(b"one", b"0", 5), b"DATA\n", end=b""), ours="refused", why="As above."),
    Item("dots in a name", written(member(b"a/../../b", b"x")), ours="refused", why="The name points outside the image. GNU tar skips the member and fails."),
    Item("a broken header", written(member(b"one", b"x"), b"\xff" * 512, member(b"two", b"x")), ours="refused",
         why="There is no telling what was lost. GNU tar looks for the next header and fails at the end."),
]  # fmt: skip
"""What dialects and mistakes look like."""
