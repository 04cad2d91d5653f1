"""Training in its parts: settings, building, callbacks, the run's folder, strategies.

``settings``       what defines a run, and the command's arguments made of it
``building``       from settings to images, models, distiller and optimizer
``teacher_cache``  the teacher's outputs for a pool of crops, computed once
``callbacks``      what happens during ``Distiller.fit``: validate, log, save, name divergence
``run_folder``     the files of a run, each complete or not there
``strategies``     more than one device or machine
``run``            a run put together: :class:`Training`

``settings`` and ``strategies`` load no TensorFlow.
"""

from keras_skd.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "LearningRate": "callbacks",
        "RunFolder": "run_folder",
        "SaveCheckpoint": "callbacks",
        "SaveStudents": "callbacks",
        "StopWhenDiverged": "callbacks",
        "TeacherCache": "teacher_cache",
        "Training": "run",
        "TrainingConfig": "settings",
        "TrainingDivergedError": "callbacks",
        "Validate": "callbacks",
        "WriteLog": "callbacks",
        "WriteSamples": "callbacks",
        "build_teacher_cache": "teacher_cache",
    },
)
