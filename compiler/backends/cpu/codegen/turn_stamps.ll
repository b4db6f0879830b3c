; Time stamps among turns, for profiles: what each call takes in all turns of the first thread. Beside `stamp.ll`.

; *since = now, on the first thread, if there is a profile.
define internal void @netc.stamp.begin(ptr %profile, i64 %tid, ptr %since) noinline nounwind {
entry:
  %time = alloca i64, align 8
  store i64 0, ptr %time, align 8
  %off = icmp eq ptr %profile, null
  br i1 %off, label %done, label %record
record:
  call void @netc.stamp(ptr %time, i64 %tid, i64 0)
  %now = load i64, ptr %time, align 8
  store i64 %now, ptr %since, align 8
  br label %done
done:
  ret void
}

; profile[index] += now - *since, and *since = now: what a call took in one of several turns.
define internal void @netc.stamp.add(ptr %profile, i64 %tid, i64 %index, ptr %since) noinline nounwind {
entry:
  %off = icmp eq ptr %profile, null
  %other = icmp ne i64 %tid, 0
  %skip = or i1 %off, %other
  br i1 %skip, label %done, label %record
record:
  %before = load i64, ptr %since, align 8
  call void @netc.stamp.begin(ptr %profile, i64 %tid, ptr %since)
  %now = load i64, ptr %since, align 8
  %took = sub i64 %now, %before
  %place = getelementptr i64, ptr %profile, i64 %index
  %sum = load i64, ptr %place, align 8
  %more = add i64 %sum, %took
  store i64 %more, ptr %place, align 8
  br label %done
done:
  ret void
}

; Make room for what the calls from `first` to `end` will take.
define internal void @netc.stamp.clear(ptr %profile, i64 %tid, i64 %first, i64 %end) noinline nounwind {
entry:
  %off = icmp eq ptr %profile, null
  %other = icmp ne i64 %tid, 0
  %skip = or i1 %off, %other
  br i1 %skip, label %done, label %clear
clear:
  %i = phi i64 [ %first, %entry ], [ %next, %clear ]
  %next = add i64 %i, 1
  %place = getelementptr i64, ptr %profile, i64 %next
  store i64 0, ptr %place, align 8
  %more = icmp ult i64 %next, %end
  br i1 %more, label %clear, label %done
done:
  ret void
}

; Make time stamps of what the calls from `first` to `end` took.
define internal void @netc.stamp.sum(ptr %profile, i64 %tid, i64 %first, i64 %end) noinline nounwind {
entry:
  %off = icmp eq ptr %profile, null
  %other = icmp ne i64 %tid, 0
  %skip = or i1 %off, %other
  br i1 %skip, label %done, label %add
add:
  %i = phi i64 [ %first, %entry ], [ %next, %add ]
  %next = add i64 %i, 1
  %before = getelementptr i64, ptr %profile, i64 %i
  %place = getelementptr i64, ptr %profile, i64 %next
  %at = load i64, ptr %before, align 8
  %took = load i64, ptr %place, align 8
  %sum = add i64 %at, %took
  store i64 %sum, ptr %place, align 8
  %more = icmp ult i64 %next, %end
  br i1 %more, label %add, label %done
done:
  ret void
}
