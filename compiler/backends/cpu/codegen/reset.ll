; The initial state of a network that keeps one from run to run.

define i32 @{{prefix}}_reset(ptr %workspace) nounwind {
entry:
  %usable = call i32 @netc.usable(ptr %workspace)
  %fits = icmp eq i32 %usable, 0
  br i1 %fits, label %copy, label %done
copy:
  %weights = call ptr @netc.weights.of(ptr %workspace)
  %initial = getelementptr i8, ptr %weights, {{size}} {{initial}}
  %state = getelementptr i8, ptr %workspace, {{size}} {{state}}
  call void @llvm.memcpy.p0.p0.{{size}}(ptr %state, ptr %initial, {{size}} {{bytes}}, i1 false)
  br label %done
done:
  ret i32 %usable
}
