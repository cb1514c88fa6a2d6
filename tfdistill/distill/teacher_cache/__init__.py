"""A teacher's logits on disk: computed once, used by many trainings.

`TeacherCache.build` runs the teacher, in this process or in several on Ray, and writes shards that
survive being killed; `TeacherCache.dataset` feeds them to `Distiller.fit`.
"""
